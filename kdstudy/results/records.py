"""What a trial reports: one record per epoch, one result at the end; plain values, so that they travel as JSON.

Scores are fractions in [0, 1], times are seconds, epochs count from 1. A missing number is ``None``, never NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from kdstudy.results.study_documents import EpochDocument, LayerDocument
from kdstudy.results.values import EndedState

FINISHED_STATES: tuple[EndedState, ...] = ("completed", "stopped", "diverged", "failed")


def finite(value: float) -> float | None:
    """Return ``value``, or None where it is NaN or infinite: JSON has neither."""
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class LayerRecord:
    """What the controller measured and set for one crucial layer at one update.

    Args:
        layer: The student's layer name.
        divergence: Normalised Jensen-Shannon divergence in [0, 1].
        momentum: The controller's momentum after the update; of a policy without momentum, its signal.
        multiplier: The layer's factor on the base rate after the update.
        chance: The divergence from the teacher's maps of other images, in [0, 1]: what unrelated maps of this layer
            have. None where it could not be measured, and in records of earlier versions.
    """

    layer: str
    divergence: float
    momentum: float
    multiplier: float
    chance: float | None = None

    def to_json(self) -> LayerDocument:
        """Return plain values."""
        return {
            "layer": self.layer,
            "divergence": self.divergence,
            "momentum": self.momentum,
            "multiplier": self.multiplier,
            "chance": self.chance,
        }


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of one trial.

    Args:
        epoch: From 1.
        loss: Mean total training loss; None if it was not finite.
        terms: Mean of each named term of the loss, weights included (``cross_entropy``, ``attention/layer1``, ...).
        val: Validation score in [0, 1]: accuracy, or macro mean average precision of several labels; None if the
            trial diverged in this epoch.
        val_loss: Mean validation cross-entropy; None likewise.
        rate: The base learning rate at the epoch's last step, before multipliers.
        rates: The learning rate of each layer group at the epoch's last step, head included.
        layers: One entry a crucial layer where the controller updated after this epoch, else empty.
        seconds: Wall time of the epoch (training, validation, probe).
        scores: Further validation scores by name, and how many classes ``map`` is a mean over; empty for single
            labels.
    """

    epoch: int
    loss: float | None
    terms: dict[str, float | None]
    val: float | None
    val_loss: float | None
    rate: float
    rates: dict[str, float]
    layers: tuple[LayerRecord, ...] = ()
    seconds: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> EpochDocument:
        """Return plain values."""
        return {
            "epoch": self.epoch,
            "loss": self.loss,
            "terms": self.terms,
            "val": self.val,
            "val_loss": self.val_loss,
            "rate": self.rate,
            "rates": self.rates,
            "layers": [layer.to_json() for layer in self.layers],
            "seconds": self.seconds,
            "scores": self.scores,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EpochRecord:
        """Build from `to_json`'s values."""
        layers = tuple(LayerRecord(**layer) for layer in values["layers"])
        return cls(**{**values, "layers": layers})

    def numbers(self) -> dict[str, Any]:
        """Return everything that a rerun must repeat: all but the time it took."""
        return {key: value for key, value in self.to_json().items() if key != "seconds"}


@dataclass(frozen=True)
class TrialResult:
    """How a trial ended.

    Args:
        state: ``completed``, ``stopped`` (pruned), ``diverged`` (a loss was not finite) or ``failed`` (it raised).
        epochs: Epochs finished.
        val: Validation score of the last epoch; None unless completed or stopped.
        test: Test score of the last epoch; confirmation only.
        weights_sha256: Of the final student's tensors; None unless completed.
        error: The traceback of a failed trial; of a diverged one why, in one sentence (none in older records).
        seconds: Wall time of all epochs, those before a resume included.
        numerics: What the numbers depend on where it ran (torch, threads, CPU capability, device).
    """

    state: EndedState
    epochs: int
    val: float | None = None
    test: float | None = None
    weights_sha256: str | None = None
    error: str | None = None
    seconds: float = 0.0
    numerics: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrialResult:
        """Build from `to_json`'s values."""
        return cls(**values)
