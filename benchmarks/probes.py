"""What an update of a policy costs: the probe, chance levels included, and the norms that `trust` asks for.

In turn, resnet8 with attention maps from resnet20, images of the size of CIFAR-10: some steps of training, the
teacher's outputs cached so that they are as short as they get; the same steps with norms gathered; a probe of 512
images; and the same without the chance levels. Printed: a probe in steps, and as a share of an epoch and of an
interval.

    python benchmarks/probes.py [ROUNDS [STEPS]]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from timing import alternate, ratio, table, where
from trainers import BATCH, CPU, LAYERS, Ours, network, noise

from kdstudy.training import Probe, generator
from kdstudy.transfer import MapTransfer, TransferContext
from kdstudy.trial import build_transfer

PROBE, INTERVAL = 512, 25
EPOCHS = {"CIFAR-10, 50,000 images": 50_000, "2,500 images": 2_500}


class WithoutChance(Probe):
    """A probe that measures divergences alone, as earlier versions did."""

    def _chance(self, student_map: torch.Tensor, teacher_map: torch.Tensor) -> float | None:
        return None


def main(rounds: int, steps: int) -> None:
    """Print the tables."""
    print(where(), f"{rounds} rounds of {steps} steps", flush=True)
    data = noise(max(steps, PROBE // BATCH))
    with tempfile.TemporaryDirectory() as folder:
        taught = network("resnet20", data).eval().requires_grad_(False)
        ours = Ours("resnet8", ("resnet20", taught), "attention", data, cache=Path(folder) / "study")
        probes = {kind: probe_of(ours, kind) for kind in (Probe, WithoutChance)}
        teacher = ours.distiller.teacher
        assert teacher is not None

        def epoch(norms: bool) -> None:
            ours.distiller.begin_epoch(
                1, ours.batches(), steps=steps, directions=generator(1, "directions"), multipliers={}, norms=norms
            ).run()

        seconds = alternate(
            {
                "steps": lambda: epoch(False),
                "steps, with norms": lambda: epoch(True),
                "probe": lambda: probes[Probe].measure(ours.student, teacher),
                "probe without chance": lambda: probes[WithoutChance].measure(ours.student, teacher),
            },
            rounds,
        )
    show(seconds, len(data.train) // BATCH)


def probe_of(ours: Ours, kind: type[Probe]) -> Probe:
    """Return a probe of the trainer's networks."""
    context = TransferContext(
        layers=LAYERS,
        student_shapes=((16, 32, 32), (32, 16, 16), (64, 8, 8)),
        teacher_shapes=((16, 32, 32), (32, 16, 16), (64, 8, 8)),
        image_shape=ours.data.image_shape,
        num_classes=ours.data.num_classes,
        num_train=len(ours.data.train),
        student=ours.student.module,
        teacher=ours.student.module,
        teacher_layers=LAYERS,
    )
    instrument = build_transfer("attention", {}, context, seed=0)
    assert isinstance(instrument, MapTransfer)
    images = ours.data.train.images[:PROBE].to(CPU).float() / 255
    return kind(instrument, images, generator(1, "directions"), 0.5)


def show(seconds: dict[str, list[float]], steps: int) -> None:
    """Print ratios, and the shares of an epoch that they make."""
    names = ("steps, with norms", "probe", "probe without chance")
    print(table(["", f"in {steps} steps of training"], [[name, ratio(seconds, name, "steps")] for name in names]))
    probe = float(np.median(np.array(seconds["probe"]) / np.array(seconds["steps"]))) * steps
    rows = []
    for name, images in EPOCHS.items():
        share = probe / -(-images // BATCH)
        rows.append([name, f"{probe:.1f}", f"{share:.2%}", f"{share / INTERVAL:.3%}"])
    print(table(["an epoch of", "a probe, in steps", "of an epoch", f"of an interval of {INTERVAL} epochs"], rows))


if __name__ == "__main__":
    numbers = [int(value) for value in sys.argv[1:]]
    main(*(numbers + [7, 16][len(numbers) :]))
