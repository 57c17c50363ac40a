"""What matching derivatives costs, in plain training steps of the same student.

First table, the student's part (the teacher's outputs are kept): the tangent forms on the whole batch and on a quarter
of it, and the double-backward forms that they replace. Second table, end to end with the teacher run in each step and
with its outputs kept. That the forms agree is not shown here but in `tests/transfer`, in float64 to 1e-10.

    python benchmarks/derivatives.py [ROUNDS [STEPS]]
"""

from __future__ import annotations

import copy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from timing import alternate, ratio, table, where
from trainers import ByHand, Ours, network, noise, soft_targets

FORMS = {
    "attention": ("attention", "1.00"),
    "jacobian": ("jacobian", "2.00"),
    "jacobian, a quarter": ("{jacobian: {fraction: 0.25}}", "1.25"),
    "hessian": ("hessian", "2.00"),
    "hessian, a quarter": ("{hessian: {fraction: 0.25}}", "1.25"),
    "jacobian by three double backwards": ("{jacobian: {form: projection}}", "3.00"),
    "hessian by three Hessian-vector products": ("{hessian: {form: hvp}}", "7.00"),
}
END_TO_END = (("resnet8", "resnet20"), ("resnet20", "resnet32x4"))
METHODS = {
    "jacobian, a quarter": "{jacobian: {fraction: 0.25}}",
    "hessian, a quarter": "{hessian: {fraction: 0.25}}",
    "hessian by three Hessian-vector products": "{hessian: {form: hvp}}",
}


def main(rounds: int, steps: int) -> None:
    """Print both tables."""
    print(where(), f"{rounds} rounds of {steps} steps", flush=True)
    print(table(["student resnet20", "floor", "measured"], student_part(rounds, steps)), flush=True)
    header = ["student <- teacher", "method", "off", "schedule"]
    print(table(header, [row for pair in END_TO_END for row in end_to_end(*pair, rounds, steps)]))


def student_part(rounds: int, steps: int) -> list[list[str]]:
    """Return one line a form: the floor counts convolutions, the measure everything."""
    data = noise(steps)
    teacher = network("resnet20", data, seed=1).eval().requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        ours = {
            name: Ours("resnet20", ("resnet20", teacher), form, data, cache=Path(folder) / "study")
            for name, (form, _) in FORMS.items()
        }
        seconds = alternate(
            {"plain": plain(ours["attention"])} | {name: our.epoch for name, our in ours.items()}, rounds
        )
    return [[name, floor, ratio(seconds, name, "plain")] for name, (_, floor) in FORMS.items()]


def end_to_end(student: str, teacher: str, rounds: int, steps: int) -> list[list[str]]:
    """Return one line a method: with the teacher run in each step, and with its outputs kept."""
    data = noise(steps)
    taught = network(teacher, data, seed=1).eval().requires_grad_(False)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, method in METHODS.items():
            live = Ours(student, (teacher, taught), method, data)
            kept = Ours(student, (teacher, taught), method, data, cache=Path(folder) / "study")
            seconds = alternate({"plain": plain(live), "off": live.epoch, "schedule": kept.epoch}, rounds)
            rows.append(
                [f"{student} <- {teacher}", name, *(ratio(seconds, each, "plain") for each in ("off", "schedule"))]
            )
            print(rows[-1], flush=True)
    return rows


def plain(ours: Ours) -> Callable[[], object]:
    """Return a hand-written plain epoch of the same student."""
    return ByHand(copy.deepcopy(ours.student.module), None, soft_targets, ours.batches).epoch


if __name__ == "__main__":
    numbers = [int(value) for value in sys.argv[1:]]
    main(*(numbers + [5, 2][len(numbers) :]))
