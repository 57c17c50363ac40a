"""What a step costs, teacher and data path included, in plain training steps of the same student.

The plain step is a hand-written one: whole-batch augmentation, forward, cross-entropy, backward, SGD. The contenders:
kdstudy with the teacher run in each step and with its outputs kept, a hand-written loop, and torchdistill with its own
data path if it is installed (`pip install torchdistill==1.1.5`; nothing else here needs it). The losses of one epoch,
from the same weights on the same batches, must agree before anything is timed.

    python benchmarks/steps.py [ROUNDS [STEPS]]
"""

from __future__ import annotations

import copy
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from timing import alternate, ratio, table, where
from trainers import METHODS, ByHand, Ours, network, noise, torchdistill, torchdistill_epoch

PAIRS = (("resnet8", "resnet20"), ("resnet8x4", "resnet32x4"), ("resnet20", "resnet32x4"))
COLUMNS = ("by hand", "kdstudy, off", "kdstudy, schedule", "torchdistill")


def main(rounds: int, steps: int) -> None:
    """Print the table."""
    rows = []
    print(where(), f"{rounds} rounds of {steps} steps", flush=True)
    for student, teacher in PAIRS:
        for method in METHODS:
            rows.append(row(student, teacher, method, rounds, steps))
            print(rows[-1], flush=True)
    print(table(["student <- teacher", "method", "floor, alone", "floor, kept", *COLUMNS], rows))


def row(student: str, teacher: str, method: str, rounds: int, steps: int) -> list[str]:
    """Return one line of the table."""
    data = noise(steps)
    taught = network(teacher, data).eval().requires_grad_(False)
    written, losses = METHODS[method]
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "study"
        live = Ours(student, (teacher, taught), written, data)
        kept = Ours(student, (teacher, taught), written, data, cache=cache)
        start = copy.deepcopy(live.student.module)
        hand = ByHand(copy.deepcopy(start), copy.deepcopy(taught), losses, live.batches)
        plain = ByHand(copy.deepcopy(start), None, losses, live.batches)
        box = torchdistill(copy.deepcopy(start), copy.deepcopy(taught), method, data)
        contenders: dict[str, Callable[[], object]] = {
            "plain": plain.epoch,
            "by hand": hand.epoch,
            "kdstudy, off": live.epoch,
            "kdstudy, schedule": kept.epoch,
        }
        firsts = [live.epoch(), kept.epoch(), hand.epoch()]
        if box is not None:
            firsts.append(torchdistill_epoch(box, list(live.batches())))
            contenders["torchdistill"] = lambda: torchdistill_epoch(box)
        assert all(math.isclose(first, firsts[0], rel_tol=1e-4) for first in firsts), firsts
        images = data.train.images[:64].float() / 255
        contenders["teacher's forward"] = lambda: [taught(images) for _ in range(steps)]
        seconds = alternate(contenders, rounds)
    forward = ratio(seconds, "teacher's forward", "plain")
    shown = [ratio(seconds, name, "plain") if name in seconds else "-" for name in COLUMNS]
    return [f"{student} <- {teacher}", method, f"1 + {forward}", "1.00", *shown]


if __name__ == "__main__":
    numbers = [int(value) for value in sys.argv[1:]]
    main(*(numbers + [7, 4][len(numbers) :]))
