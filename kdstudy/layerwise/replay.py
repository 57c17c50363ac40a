"""The replay control: multipliers from the study file, to ask whether a schedule of the same shape does as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, final

from annotated_types import Ge, Gt

from kdstudy.errors import StudyError
from kdstudy.layerwise.base import Policy, never_updates
from kdstudy.layerwise.normalise import Mean, normalised
from kdstudy.results import LayerRecord

Multiplier = Annotated[float, Gt(0)]


@final
class ReplayPolicy(Policy):
    """Set the multipliers that the study file lists, whatever this student does.

    List what a ``layerwise`` trial did under another seed (`kdstudy show ID --trial N --replay` prints it): where this
    does as well as ``layerwise``, the shape of the schedule helped and not the measurement. Take a search trial's: its
    seeds are disjoint from those of every confirmation. The list is part of each trial's record, as every option is.

    Divergences are measured as often as by ``layerwise``, at the same cost, and only recorded.

    Source: ours; a yoked control, as experiments on feedback use it.

    Args:
        layers: Names of the crucial layers, in order of depth.
        seed: Not used; nothing is drawn.
        parameters: Number of each layer's parameters.
        multipliers: One list per update, of one factor > 0 per layer, in order of depth; until the first update, and if
            there is none at all, each layer has 1. One for every update of the training.
        normalise: ``off`` takes the factors as listed; ``parameters`` and ``layers`` scale those of each update so that
            the mean parameter of the crucial layers, or the mean layer, learns at the base rate.
        interval: Epochs between updates, >= 1; there is none after the last epoch.
        map: Whose map is measured; by default the transfer's own, or attention for a transfer without maps.
        probe_size: Training images it is measured on, >= 1.

    Raises:
        StudyError: An update lists another number of factors than there are layers.
    """

    def __init__(  # noqa: PLR0913 - each argument is a key of the study file
        self,
        layers: Sequence[str],
        seed: int = 0,
        parameters: Sequence[int] = (),
        *,
        multipliers: tuple[tuple[Multiplier, ...], ...] = (),
        normalise: Mean = "off",
        interval: Annotated[int, Ge(1)] = 1,
        map: Literal["attention", "jacobian", "hessian"] | None = None,  # noqa: A002 - the study file's key
        probe_size: Annotated[int, Ge(1)] = 512,
    ) -> None:
        super().__init__(layers, seed, parameters)
        for number, factors in enumerate(multipliers, 1):
            if len(factors) != len(self.layers):
                raise StudyError(
                    [
                        f"replay.multipliers: update {number} must list one factor for each of the {len(self.layers)} "
                        f"crucial layers ({', '.join(self.layers)}), got {len(factors)}; record it with the same layers"
                    ]
                )
        self._recorded = tuple(tuple(float(factor) for factor in factors) for factors in multipliers)
        self.normalise = normalise
        self.interval, self.map_name, self.probe_size = interval, map, probe_size
        self._updates = 0

    @classmethod
    def problems(
        cls,
        options: Mapping[str, Any],
        *,
        epochs: int,
        num_layers: int | None = None,
    ) -> list[str]:
        """Return what is wrong with these options together; see `Policy.problems`."""
        interval, recorded = options.get("interval", 1), len(options.get("multipliers", ()))
        updates = (epochs - 1) // interval
        if never := never_updates("replay", interval, epochs):
            return [never]
        if recorded == updates:
            return []
        return [
            f"replay.multipliers: must list one update for each of the {updates} that {epochs} epoch(s) have, got "
            f"{recorded}; record a layer-wise trial with the same epochs and interval"
        ]

    def due(self, epoch: int, epochs: int) -> bool:
        """Whether ``epoch`` is a multiple of the interval and not the last."""
        return epoch % self.interval == 0 and epoch < epochs

    def update(self, divergences: Sequence[float]) -> tuple[LayerRecord, ...]:
        """Set the next listed multipliers; where the list is at its end, leave the last ones.

        Args:
            divergences: One per layer, in [0, 1], in order; only recorded.
        """
        if self._updates < len(self._recorded):
            factors = normalised(self._recorded[self._updates], self.parameters, self.normalise)
            self.multipliers = dict(zip(self.layers, factors, strict=True))
        self._updates += 1
        return tuple(
            LayerRecord(layer, divergence, 0.0, self.multipliers[layer])
            for layer, divergence in zip(self.layers, divergences, strict=True)
        )

    def state_dict(self) -> dict[str, Any]:
        """Return multipliers and the number of updates done."""
        return {**super().state_dict(), "updates": self._updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`'s values."""
        super().load_state_dict(state)
        self._updates = int(state["updates"])
