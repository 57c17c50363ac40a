"""What a pack of trials saves: K trials one after another, and the same K in one process with one pass of the teacher.

A trial is what a worker runs: networks built, steps, scores of the validation split, a checkpoint after every epoch,
the student written at the end; the teacher runs in every step (`cache: off`). Data is noise, the teacher untrained, the
transfer soft targets. ``none`` is the same K trials without a teacher: what the teacher adds to them is tau, and the
model, (1 + tau) / (1 + tau / K), leaves out that a pack also shares batches and opens the teacher once, which counts
the more, the fewer the steps. Weights are compared bit for bit before anything is timed. ``at once`` is the same pack
under `numerics: {packs: vmap}`.

    python benchmarks/packing.py STUDENT TEACHER [ROUNDS [EPOCHS [STEPS [K]]]]
"""

from __future__ import annotations

import functools
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from safetensors.torch import save_file
from throughput import STUDY
from timing import alternate, ratio, table, where
from trainers import network, noise

from kdstudy.plugins import allow_plugins
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.storage import DiskFolder
from kdstudy.study import NumericsConfig, TrialConfig, parse_study
from kdstudy.trial import open_teacher, prepare_teacher, run_pack, run_trial


class Trials:
    """K trials that differ in their seeds.

    Args:
        folder: Of teacher, checkpoints and students.
        configs: The trials.
    """

    def __init__(self, folder: Path, configs: list[TrialConfig]) -> None:
        self.folder, self.configs = folder, configs
        teachers = folder / "teachers"
        self.teacher = teachers / prepare_teacher(configs[0], teachers).key
        self.walls: dict[str, list[float]] = {}

    def run(self, name: str) -> list[str | None]:
        """Run them ``packed``, ``at once`` or one after another; return their weights' hashes, keep the wall time."""
        hashes: dict[int, str | None] = {}

        def report(number: int, _record: EpochRecord | None, result: TrialResult | None) -> bool:
            if result is not None:
                hashes[number] = result.weights_sha256
            return True

        began = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            if name in ("packed", "at once"):
                numerics = NumericsConfig(packs="turns" if name == "packed" else "vmap")
                configs = {number: replace(config, numerics=numerics) for number, config in enumerate(self.configs)}
                run_pack(configs, report, teacher=open_teacher(self.teacher), folder=DiskFolder(Path(folder)))
            else:
                for number, config in enumerate(self.configs):
                    tell = functools.partial(report, number)
                    run_trial(config, tell, teacher=open_teacher(self.teacher), folder=Path(folder) / str(number))
        self.walls.setdefault(name, []).append(time.perf_counter() - began)
        return [hashes[number] for number in range(len(self.configs))]


def main(student: str, teacher: str, rounds: int, epochs: int, steps: int, count: int) -> None:
    """Run and print."""
    images = -(-steps * 64 * 10 // 9)  # a tenth of them is for validation
    print(where(), f"{rounds} rounds, {count} trials of {epochs} epochs of {steps} steps", flush=True)
    allow_plugins("trainers")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "teacher.safetensors"
        save_file(network(teacher, noise(2), classes=10).state_dict(), path)
        shape = {"student": student, "teacher": teacher, "path": path, "epochs": epochs, "images": images}
        found = {}
        for transfer in ("kd", "none"):
            study = parse_study(STUDY.format(**shape, transfer=transfer, mode="off", numerics="{}"))
            configs = [study.config(f"{transfer}/constant", {}, data_seed=1, init_seed=k) for k in range(count)]
            found[transfer] = Trials(Path(folder), configs)
        trials = found["kd"]
        assert trials.run("packed") == trials.run("alone"), "packed and alone must be the same"
        trials.walls.clear()
        contenders = {name: functools.partial(trials.run, name) for name in ("alone", "packed", "at once")}
        seconds = alternate({**contenders, "none": lambda: found["none"].run("none")}, rounds)
    for name, taken in seconds.items():
        print(name, ", ".join(f"{each:.2f}" for each in taken), "s CPU", flush=True)
    alone, none = statistics.median(seconds["alone"]), statistics.median(seconds["none"])
    tau = alone / none - 1
    model = (1 + tau) / (1 + tau / count)
    walls = {name: each[1:] for name, each in trials.walls.items()}
    pair = f"{student} <- {teacher}"
    row = [pair, f"{tau:.2f}", f"{model:.2f}", ratio(seconds, "alone", "packed"), ratio(walls, "alone", "packed")]
    row.append(ratio(seconds, "packed", "at once"))
    titles = ["student <- teacher", "tau", "model", "gain, CPU time", "gain, wall time", "packed / at once, CPU time"]
    print(table(titles, [row]))


if __name__ == "__main__":
    numbers = [int(value) for value in sys.argv[3:7]]
    main(sys.argv[1], sys.argv[2], *(numbers + [3, 1, 40, 4][len(numbers) :]))
