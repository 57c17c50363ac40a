"""(e) The hours that the studies named after the paper would take on one such device, one trial at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.gpu.job import Job
from benchmarks.study_hours import costs, hours_of, measured, step_of, training_images
from kdstudy.study import Study, TrialConfig, load_study

STUDIES = Path(__file__).parents[2] / "studies"


def run(job: Job) -> None:
    """Measure each study's teacher and transfers."""
    for path in sorted(STUDIES.glob("paper-*.yaml"))[: 1 if job.small else None]:
        study = load_study(path)
        for what, config, trials in costs(study):
            key = f"{study.name}: {what}"
            job.measure(key, lambda s=study, c=config, t=trials: cost(job, s, c, t))


def cost(job: Job, study: Study, config: TrialConfig, trials: int) -> dict[str, Any]:
    """Return the seconds of a step, and the hours of a trial and of all."""
    flops, seconds = measured(step_of(config, job.device), 1 if job.small else 20, job.device)
    hours = hours_of(config, training_images(study), seconds)
    told = {"GFLOP a step": flops / 1e9, "ms a step": 1e3 * seconds, "hours a trial": hours}
    return {**told, "trials": trials, "hours": hours * trials}
