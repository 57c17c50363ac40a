"""The figures of a study's report in Python, as plotly figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from kdstudy.results import Quantity

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from kdstudy.report import Drawings


class Plots(ABC):
    """The figures of ``kdstudy report``, of the record as it is when they are asked for.

    Those of a search have the names of Optuna's. What is not named is that of the student to take home, else the first
    that there is. A notebook shows a figure that a cell ends with; ``write_html`` of plotly keeps one.
    """

    @abstractmethod
    def _drawings(self) -> Drawings:
        """Return what draws them."""

    def plot_verdict(self) -> Figure:
        """Return the differences of the comparisons: a ring per search, a tick per seed, the 95 % interval.

        Raises:
            RecordError: There is no difference yet.
        """
        return self._drawings().verdict()

    def plot_curves(self, transfer: str | None = None) -> Figure:
        """Return the learning curves of a transfer's arms: validation score over epochs, a band of one sd.

        Args:
            transfer: As the study names it.

        Raises:
            RecordError: No confirmation run has completed, or there is no such transfer.
        """
        return self._drawings().curves(transfer)

    def plot_layers(self, arm: str | None = None, quantity: Quantity = "multiplier") -> Figure:
        """Return what an arm's policy measured or set of each layer, over epochs.

        Args:
            arm: ``transfer/policy``.
            quantity: ``multiplier``, ``divergence``, ``divergence_over_chance`` or ``momentum``.

        Raises:
            RecordError: Nothing was set while training, or there is no such arm or quantity.
        """
        return self._drawings().layers(arm, quantity)

    def plot_param_importances(self, arm: str | None = None) -> Figure:
        """Return the share of each searched value in how well an arm's trials did.

        Args:
            arm: ``transfer/policy``.

        Raises:
            RecordError: Too few trials have ended, or there is no such arm.
        """
        return self._drawings().param_importances(arm)

    def plot_slice(self, arm: str | None = None, value: str | None = None) -> Figure:
        """Return the validation score of an arm's search trials over one searched value.

        Args:
            arm: ``transfer/policy``.
            value: Its dotted path in the study file, ``train.base_lr``.

        Raises:
            RecordError: Nothing was searched, or there is no such arm or value.
        """
        return self._drawings().slice(arm, value)

    def plot_parallel_coordinate(self, arm: str | None = None) -> Figure:
        """Return each search trial of an arm as a line across all searched values and the score.

        Args:
            arm: ``transfer/policy``.

        Raises:
            RecordError: Nothing was searched, or there is no such arm.
        """
        return self._drawings().parallel_coordinate(arm)

    def plot_cost(self) -> Figure:
        """Return the seconds of each arm: search, confirmation, and what was neither."""
        return self._drawings().cost()
