"""The loop of a trial as a user writes it: plain PyTorch around a `Distillation`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kdstudy.distill import Distillation
from kdstudy.models import build_model
from kdstudy.results import EpochRecord, LayerRecord
from kdstudy.study import TrialConfig
from kdstudy.training import fixed_numerics, generator
from kdstudy.trial import dataset_of, training_batches
from tests.configs import fresh_teacher

CPU = torch.device("cpu")


@contextmanager
def distillation_of(config: TrialConfig, **other: Any) -> Iterator[Distillation]:
    """The student, teacher and method of a trial with one seed, in the trial's numerics."""
    assert config.data_seed == config.init_seed
    data = dataset_of(config, with_test=False)
    chosen = torch.randperm(len(data.train.images), generator=generator(config.data_seed, "probe-images"))[:512]
    student = build_model(
        "resnet8",
        {},
        num_classes=data.num_classes,
        image_shape=data.image_shape,
        mean=data.mean,
        std=data.std,
        seed=config.init_seed,
    )
    given: dict[str, Any] = {
        "transfer": config.transfer.to_yaml(),
        "policy": config.policy.to_yaml(),
        "image_shape": data.image_shape,
        "epochs": config.train.epochs,
        "probe": data.train.images[chosen].float() / 255,
        "num_train": len(data.train.images),
        "seed": config.init_seed,
    }
    with (
        fixed_numerics(config.resources.cpus),
        Distillation(student, fresh_teacher(), **{**given, **other}) as distillation,
    ):
        yield distillation


def optimizer_of(distillation: Distillation, config: TrialConfig) -> torch.optim.SGD:
    train = config.train
    options = {"momentum": train.momentum, "weight_decay": train.weight_decay, "nesterov": train.nesterov}
    return torch.optim.SGD(distillation.param_groups(), lr=train.base_lr, **options)


Epoch = tuple[dict[str, float], dict[str, float], tuple[LayerRecord, ...]]


def train(
    distillation: Distillation, optimizer: torch.optim.Optimizer, config: TrialConfig, epochs: int
) -> list[Epoch]:
    """Train so many epochs more: of each the mean terms, the rates, what the policy did."""
    data, done = dataset_of(config, with_test=False), []
    for _ in range(epochs):
        epoch = distillation.epoch
        batches = list(training_batches(config, data, CPU, epoch + 1))
        sums: dict[str, Tensor] = {}
        distillation.student.train()
        for step, (images, labels, indices) in enumerate(batches):
            progress = epoch + step / len(batches)
            lr = config.train.base_lr * (0.5 * (1 + math.cos(math.pi * progress / config.train.epochs)))
            terms = distillation.terms(images, labels, indices)
            optimizer.zero_grad()
            sum(terms.values(), torch.zeros(())).backward()
            distillation.step(optimizer, lr)
            for name, term in terms.items():
                sums[name] = sums.get(name, torch.zeros((), dtype=torch.float64)) + term.detach().double()
        means = {name: float(total) / len(batches) for name, total in sums.items()}
        rates = {group["layer"]: group["lr"] for group in optimizer.param_groups}
        distillation.student.eval()  # where a loop scores the student
        done.append((means, rates, distillation.end_epoch()))
    return done


def of_trial(records: Iterable[EpochRecord]) -> list[Epoch]:
    """The same of a trial's records."""
    return [(dict(record.terms), record.rates, record.layers) for record in records]  # type: ignore[arg-type]


class Small(nn.Module):
    """A network that kdstudy does not know, with layers of any name."""

    def __init__(self, width: int, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU())
        self.out = nn.Linear(2 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.out(self.deep(self.stem(images)).mean((2, 3)))
        return logits
