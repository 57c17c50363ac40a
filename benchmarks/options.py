"""What each kind of faster arithmetic gains, by how much a teacher's outputs are off, what data and reading cost.

python benchmarks/options.py [ROUNDS]
"""

from __future__ import annotations

import copy
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from timing import alternate, ratio, table, where
from torch import Tensor
from torch.utils.data import DataLoader
from trainers import BATCH, LAYERS, SHAPE, ByHand, Ours, Pictures, network, noise, soft_targets

from kdstudy.models import FeatureExtractor, Output
from kdstudy.study import NumericsConfig
from kdstudy.training import teacher_network
from kdstudy.transfer import Batch

STUDENT = {
    "reference": "{}",
    "channels_last": "{memory_format: channels_last}",
    "bfloat16": "{student: bfloat16}",
    "bfloat16, channels_last": "{student: bfloat16, memory_format: channels_last}",
}
TEACHER = {
    "reference": NumericsConfig(),
    "channels_last": NumericsConfig(memory_format="channels_last"),
    "folded": NumericsConfig(teacher="folded"),
    "folded, channels_last": NumericsConfig(teacher="folded", memory_format="channels_last"),
    "bfloat16": NumericsConfig(teacher="bfloat16"),
    "bfloat16, channels_last": NumericsConfig(teacher="bfloat16", memory_format="channels_last"),
}


UNUSED = Batch(torch.empty(0), torch.empty(0), torch.empty(0))


def main(rounds: int) -> None:
    """Print the three tables."""
    print(where(), f"{rounds} rounds", flush=True)
    print(table(["step of resnet20 (transfer none)", "ratio"], student(rounds)), flush=True)
    print(table(["the same by hand", "ratio", "seconds to compile"], [compiled(rounds)]), flush=True)
    for name in ("resnet20", "resnet32x4"):
        header = [f"forward pass of {name}", "ratio", "error of logits", "largest error of a feature"]
        print(table(header, teacher(name, rounds)), flush=True)
    print(table(["one batch of 64", "ms, CPU", "in steps of resnet8"], batches(rounds)))


def student(rounds: int) -> list[list[str]]:
    """Return one line a kind: an epoch's CPU time, relative to the reference's."""
    data = noise(2)
    taught = ("resnet8", network("resnet8", data).eval())
    epochs = {name: Ours("resnet20", taught, "none", data, numerics=text).epoch for name, text in STUDENT.items()}
    seconds = alternate(epochs, rounds)
    return [[name, ratio(seconds, name, "reference")] for name in STUDENT]


def compiled(rounds: int) -> list[str]:
    """Return what ``torch.compile`` makes of a hand-written plain step, and how long the first one takes."""
    data = noise(2)
    ours = Ours("resnet20", ("resnet8", network("resnet8", data).eval()), "none", data)
    module = ours.student.module
    eager = ByHand(copy.deepcopy(module), None, soft_targets, ours.batches)
    fused = ByHand(copy.deepcopy(module), None, soft_targets, ours.batches)
    fused.student.compile()
    began = time.perf_counter()
    fused.epoch()
    took = time.perf_counter() - began
    seconds = alternate({"eager": eager.epoch, "torch.compile": fused.epoch}, rounds)
    return ["torch.compile", ratio(seconds, "torch.compile", "eager"), f"{took:.0f}"]


def teacher(name: str, rounds: int) -> list[list[str]]:
    """Return one line a kind: time, and L2 error relative to the reference's output."""
    data = noise(2)
    module = network(name, data).eval().requires_grad_(False)
    images = data.train.images[:BATCH].float() / 255
    found = {
        kind: teacher_network(copy.deepcopy(module), LAYERS, numerics, SHAPE) for kind, numerics in TEACHER.items()
    }
    with torch.no_grad():
        seconds = alternate({kind: runner(each, images) for kind, each in found.items()}, rounds)
        outputs = {kind: each(images) for kind, each in found.items()}
    exact = outputs["reference"]
    return [
        [
            kind,
            ratio(seconds, kind, "reference"),
            f"{error(outputs[kind].logits, exact.logits):.0e}",
            f"{max(error(*pair) for pair in zip(outputs[kind].features, exact.features, strict=True)):.0e}",
        ]
        for kind in TEACHER
    ]


def runner(each: FeatureExtractor, images: Tensor) -> Callable[[], Output]:
    return lambda: each(images)


def error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


def reading(ours: Ours) -> None:
    """Open the epoch's file, verified before, and read the rows of its steps."""
    assert ours.teacher_outputs is not None
    ours.teacher_outputs.begin_epoch(1)
    for step in range(8):
        ours.teacher_outputs.observation(step, UNUSED, None)


def batches(rounds: int) -> list[list[str]]:
    """Return the cost of making a batch, ours and image by image through PIL, and of reading what is kept for it."""
    data = noise(8)
    ours = Ours("resnet8", ("resnet8", network("resnet8", data).eval()), "none", data)
    folder = tempfile.TemporaryDirectory()
    kept = Ours(
        "resnet8", ("resnet8", network("resnet8", data).eval()), "attention", data, cache=Path(folder.name) / "s"
    )
    kept.epoch()
    loader = DataLoader(Pictures(data), batch_size=BATCH, shuffle=True, num_workers=0)
    seconds = alternate(
        {
            "step": ours.epoch,
            "whole batch at once (kdstudy)": lambda: list(ours.batches()),
            "image by image, PIL and DataLoader": lambda: list(loader),
            "reading the teacher's logits and three maps": lambda: reading(kept),
        },
        rounds,
    )
    rows = []
    for name in list(seconds)[1:]:
        middle = sorted(seconds[name])[len(seconds[name]) // 2] / 8 * 1000
        rows.append([name, f"{middle:.1f}", ratio(seconds, name, "step")])
    return rows


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
