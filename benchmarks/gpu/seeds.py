"""(f) Seeds of pairs of the RepDistiller table on CIFAR-100 at full recipe, one after another, as long as time lasts.

240 epochs, batch 64, rates divided by ten after 150, 180 and 210. RepDistiller's loss of soft targets is 0.1 of the
cross-entropy and 0.9 of the soft targets; ours is ten times that, so with a tenth of the rate and ten times the weight
decay each step of SGD is the same. Two differences: 2 % of the training images are for validation (our study files
have no smaller part), and the teacher is trained here, on a cosine schedule. A trial that is stopped goes on from its
last epoch in the next run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.gpu.job import Job, SkipPartError
from kdstudy.study import parse_study
from kdstudy.trial import open_teacher, prepare_teacher, run_trial

PAIRS = (("wrn_40_2", "wrn_16_2"), ("resnet56", "resnet20"))
ARMS = {"kd": ("{kd: {weight: 9.0, temperature: 4.0}}", 0.005, 5e-3), "none": ("none", 0.05, 5e-4)}
SEEDS = 5
STUDY = """
name: seeds
data: {{name: cifar100, val_fraction: 0.02, root: "{root}"}}
teacher: {{model: {teacher}, epochs: 240, base_lr: 0.05, batch_size: 64, weight_decay: 5.0e-4}}
student: {{model: {student}}}
train:
  epochs: 240
  batch_size: 64
  base_lr: {lr}
  weight_decay: {decay}
  schedule: {{multistep: {{milestones: [150, 180, 210]}}}}
arms: {{transfers: [{transfer}], policies: [constant]}}
search: {{trials_per_arm: 1, sampler: random}}
resources: {{gpus: 1}}
"""


def run(job: Job) -> None:
    """Train seed after seed; the caller ends this process when time is up."""
    if job.data is None or not (job.data / "cifar-100-python").is_dir():
        raise SkipPartError("no CIFAR-100: give --data DIR, a folder with cifar-100-python in it")
    if job.small:
        raise SkipPartError("a full recipe takes days on a CPU")
    for seed in range(SEEDS):
        for teacher, student in PAIRS:
            for arm in ARMS:
                key = f"{student} <- {teacher}: {arm}, seed {seed}"
                job.measure(key, lambda t=teacher, s=student, a=arm, k=seed: trained(job, t, s, a, k))


def trained(job: Job, teacher: str, student: str, arm: str, seed: int) -> dict[str, Any]:
    """Train one student, its teacher first unless it is there, and score the test images after the last epoch."""
    assert job.data is not None
    transfer, lr, decay = ARMS[arm]
    names = {"root": job.data.resolve(), "teacher": teacher, "student": student, "transfer": transfer}
    study = parse_study(STUDY.format(**names, lr=lr, decay=decay))
    config = study.config(study.arms[0].name, {}, data_seed=100 + seed, init_seed=200 + seed)
    work: Path = job.out / "work"
    found = prepare_teacher(config, work / "teachers")
    result = run_trial(
        config,
        lambda _record, _result: None,
        teacher=open_teacher(work / "teachers" / found.key),
        folder=work / f"{student}-{teacher}-{arm}-{seed}",
        with_test=True,
    )
    told = {"test": result.test, "val": result.val, "state": result.state}
    return {**told, "seconds": result.seconds, "teacher val": found.val}
