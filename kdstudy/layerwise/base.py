"""The base class of learning-rate policies: one multiplier per crucial layer, changed at most between epochs.

The learning rate of layer j at a step is ``base_lr * schedule(step) * multiplier_j``; parameters in the head have the
multiplier 1. The multiplier scales SGD's coupled weight decay too. Plain floats only: no policy needs torch.

A policy that moves multipliers keeps their mean over the crucial layers' parameters at 1, by
`kdstudy.layerwise.normalised`: else a comparison at one base rate would compare rates.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from kdstudy.plugins import POLICIES
from kdstudy.results import LayerRecord


@dataclass(frozen=True)
class Measurement:
    """What is known of the crucial layers after an epoch: one number per layer, in order of depth.

    Args:
        divergences: Of the student's maps from the teacher's, in [0, 1].
        chances: The same from the teacher's maps of other images; None where that could not be measured.
        terms: Mean of the layer's transfer term over this epoch, in nats or what the method's loss is in, weights
            included; None where it was not finite. Empty unless the policy `needs_terms`.
        first_terms: The same of the first epoch.
        weights: Mean over this epoch's steps of the Euclidean norm of the layer's parameters. Empty unless the policy
            `needs_norms`.
        gradients: The same of their gradients, without weight decay.
        weight_decay: The optimizer's, >= 0.
    """

    divergences: Sequence[float]
    chances: Sequence[float | None]
    terms: Sequence[float | None] = ()
    first_terms: Sequence[float | None] = ()
    weights: Sequence[float] = ()
    gradients: Sequence[float] = ()
    weight_decay: float = 0.0


class Policy(ABC):
    """A learning-rate policy. Subclasses take ``layers``, ``seed``, ``parameters`` and keyword-only options.

    A policy that needs no ``seed`` or no ``parameters`` while it is built need not take them.

    Args:
        layers: Names of the student's crucial layers, in order of depth.
        seed: Of the random stream of a policy that draws; the trial's own, derived from its initialisation seed.
        parameters: Number of each layer's parameters (those whose rate it sets), in the same order; where nothing is
            given, all layers have as many.

    Attributes:
        multipliers: The present factor of each layer on the base rate.
        map_name: The transfer whose map is to be measured; None for the trial's own, or attention if it has
            none.
        probe_size: Training images the maps are measured on.
        b1: Weight of the student in the divergence, in (0, 1).
        seed: As given.
        parameters: One number per layer.
    """

    needs_layers: ClassVar[bool] = True
    """Whether it has anything to do only where layers of student and teacher match."""
    needs_terms: ClassVar[bool] = False
    """Whether it follows the layers' transfer terms; refused for a transfer without one of each layer."""
    needs_norms: ClassVar[bool] = False
    """Whether it follows norms of weights and gradients, which are gathered for it alone."""
    map_name: str | None = None
    probe_size: int = 512
    b1: float = 0.5

    def __init__(self, layers: Sequence[str], seed: int = 0, parameters: Sequence[int] = ()) -> None:
        self.layers, self.seed = tuple(layers), seed
        self.parameters = tuple(parameters) or (1,) * len(self.layers)
        self.multipliers: dict[str, float] = dict.fromkeys(self.layers, 1.0)

    @classmethod
    def problems(
        cls,
        options: Mapping[str, Any],
        *,
        epochs: int,
        num_layers: int | None = None,
    ) -> list[str]:
        """Return what is wrong with these options together, one line each; empty if nothing is.

        Args:
            options: Plain values, without ranges; absent ones take their defaults.
            epochs: Length of the training.
            num_layers: Number of crucial layers; None where it is not known yet.
        """
        return []

    @abstractmethod
    def due(self, epoch: int, epochs: int) -> bool:
        """Whether divergences are measured and `follow` is called after ``epoch`` (from 1) of ``epochs``."""

    def follow(self, measured: Measurement) -> tuple[LayerRecord, ...]:
        """Set the multipliers from all that was measured, and return what was set.

        By default, `update` from the divergences alone. The caller records the chance levels.
        """
        return self.update(measured.divergences)

    def update(self, divergences: Sequence[float]) -> tuple[LayerRecord, ...]:
        """Set the multipliers from one divergence in [0, 1] per layer, in order, and return what was set.

        A policy that is never due sets nothing.
        """
        return ()

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes in training, as plain JSON values."""
        return {"multipliers": dict(self.multipliers)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`'s values."""
        self.multipliers = {layer: float(state["multipliers"][layer]) for layer in self.layers}


def never_updates(name: str, interval: int, epochs: int) -> str | None:
    """Return what is wrong where no update would ever happen, else None.

    Args:
        name: The policy's.
        interval: Epochs between updates.
        epochs: Of the training.
    """
    if interval < epochs:
        return None
    told = f"{name}.interval: no update would ever happen in {epochs} epoch(s), got {interval}"
    return f"{told}; choose an interval below the number of epochs"


def too_few_layers(name: str, num_layers: int) -> str | None:
    """Return what is wrong where a policy that compares layers has no two of them, else None.

    Args:
        name: The policy's.
        num_layers: Number of crucial layers.
    """
    if num_layers >= 2:
        return None
    return f"{name}: compares layers with each other, got {num_layers} crucial layer(s); match at least 2"


def make_policy(
    name: str, options: Mapping[str, Any], layers: Sequence[str], *, seed: int, parameters: Sequence[int]
) -> Policy:
    """Build a policy, a user's own class included, which may take seed and parameters or only have them.

    Args:
        name: Registered name, or ``package.module:Name``.
        options: Its keyword-only arguments, plain values.
        layers: As for `Policy`, like the rest.
        seed: Of its random stream.
        parameters: Number of each layer's parameters.
    """
    policy_class = POLICIES.load(name)
    known = {"seed": seed, "parameters": tuple(parameters)}
    arguments = inspect.signature(policy_class).parameters
    # A keyword-only argument is an option, whatever it is called.
    taken = {key for key in known if key in arguments and arguments[key].kind is not inspect.Parameter.KEYWORD_ONLY}
    policy: Policy = policy_class(layers, **{key: known[key] for key in taken}, **options)
    for key in known.keys() - taken:
        setattr(policy, key, known[key])
    return policy
