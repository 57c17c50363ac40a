"""What happened over the epochs of the confirmation runs: mean and spread over searches and seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kdstudy.ledger import TrialRecord
from kdstudy.results import CurveDocument, EpochRecord, LayerCurveDocument, LayerRecord, Quantity

QUANTITIES: tuple[Quantity, ...] = ("divergence", "divergence_over_chance", "momentum", "multiplier")


@dataclass(frozen=True)
class Curve:
    """The validation score of one arm.

    Args:
        arm: ``transfer/policy``.
        epochs: From 1; those for which at least one seed has a score.
        mean: Over the seeds that have a score there, in [0, 1].
        sd: Of the sample; None with one seed.
        n: How many seeds that are.
    """

    arm: str
    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    sd: tuple[float | None, ...]
    n: tuple[int, ...]

    def to_json(self) -> CurveDocument:
        """Return plain values."""
        return {"arm": self.arm, "epochs": self.epochs, "mean": self.mean, "sd": self.sd, "n": self.n}


@dataclass(frozen=True)
class LayerCurve:
    """One quantity of one crucial layer in one arm, after each update.

    Args:
        arm: ``transfer/policy``.
        layer: The student's layer.
        quantity: One of `QUANTITIES`.
        epochs: At which the controller updated.
        mean: Over seeds.
        sd: Of the sample; None with one seed.
        n: Seeds.
    """

    arm: str
    layer: str
    quantity: Quantity
    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    sd: tuple[float | None, ...]
    n: tuple[int, ...]

    def to_json(self) -> LayerCurveDocument:
        """Return plain values."""
        return {
            "arm": self.arm,
            "layer": self.layer,
            "quantity": self.quantity,
            "epochs": self.epochs,
            "mean": self.mean,
            "sd": self.sd,
            "n": self.n,
        }


def learning_curves(trials: Sequence[TrialRecord], histories: Mapping[int, Sequence[EpochRecord]]) -> tuple[Curve, ...]:
    """Return one curve per arm.

    Args:
        trials: Confirmation runs.
        histories: Their epochs by trial number.
    """
    curves = []
    for arm, runs in _by_arm(trials).items():
        points = [(epoch.epoch, epoch.val) for trial in runs for epoch in histories[trial.number]]
        curves.append(Curve(arm, *_summary(points)))
    return tuple(curves)


def layer_curves(
    trials: Sequence[TrialRecord], histories: Mapping[int, Sequence[EpochRecord]]
) -> tuple[LayerCurve, ...]:
    """Return the curves of every arm that updates: layers by depth, each with those `QUANTITIES` that are recorded.

    Args:
        trials: Confirmation runs.
        histories: Their epochs by trial number.
    """
    curves = []
    for arm, runs in _by_arm(trials).items():
        updates = [
            (epoch.epoch, layer) for trial in runs for epoch in histories[trial.number] for layer in epoch.layers
        ]
        for name in dict.fromkeys(layer.layer for _, layer in updates):
            for quantity in QUANTITIES:
                points = [(epoch, _value(layer, quantity)) for epoch, layer in updates if layer.layer == name]
                if any(value is not None for _, value in points):
                    curves.append(LayerCurve(arm, name, quantity, *_summary(points)))
    return tuple(curves)


def _value(layer: LayerRecord, quantity: Quantity) -> float | None:
    if quantity == "divergence_over_chance":
        return layer.divergence / layer.chance if layer.chance else None
    value: float = getattr(layer, quantity)
    return value


def _by_arm(trials: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    found: dict[str, list[TrialRecord]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        found.setdefault(trial.arm, []).append(trial)
    return found


def _summary(
    points: Iterable[tuple[int, float | None]],
) -> tuple[tuple[int, ...], tuple[float, ...], tuple[float | None, ...], tuple[int, ...]]:
    """Return epochs, means, sample standard deviations and counts."""
    values: dict[int, list[float]] = {}
    for epoch, value in points:
        if value is not None:
            values.setdefault(epoch, []).append(value)
    epochs = tuple(sorted(values))
    return (
        epochs,
        tuple(statistics.fmean(values[epoch]) for epoch in epochs),
        tuple(statistics.stdev(values[epoch]) if len(values[epoch]) > 1 else None for epoch in epochs),
        tuple(len(values[epoch]) for epoch in epochs),
    )
