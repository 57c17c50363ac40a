"""What every learning-rate policy promises."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from kdstudy.layerwise import Measurement, Policy, make_policy
from kdstudy.plugins import POLICIES

LAYERS = ("a", "b", "c")
PARAMETERS = (10, 100, 1000)
SEED = 7
HISTORY = ([0.1, 0.2, 0.4], [0.0, 0.0, 0.0], [1.0, 0.0, 0.5], [1e-12, 1.0, 1.0], [0.3, 0.3, 0.3]) * 3
"""Divergences of 15 updates, everything from none to the largest."""


def measurement(divergences: Sequence[float]) -> Measurement:
    """Return what may be measured along with these divergences: losses, norms and chance levels, of all sizes.

    Args:
        divergences: One of each of `LAYERS`.
    """
    chance = (0.3, None, 0.0) if sum(divergences) == 1.5 else (0.3, 0.2, 0.0)
    return Measurement(
        divergences=divergences,
        chances=chance,
        terms=[3.0 * divergences[0], 1e30 * divergences[1], None],
        first_terms=(0.5, 1e-30, 0.7),
        weights=[1e-20, 5.0, 3.0 * divergences[2]],
        gradients=[1e20 * divergences[0], math.nan if divergences[1] == 1.0 else divergences[1], 0.1],
        weight_decay=5e-4,
    )


class PolicySuite:
    """Tests of one policy; derive from it and set `plugin`.

    Attributes:
        plugin: Registered name, or ``package.module:Name``.
        options: Options the policy is built with, where its defaults do not do.
        keeps_mean: Whether the mean parameter learns at the base rate; False for a policy that means not to.
    """

    plugin: str
    options: ClassVar[dict[str, Any]] = {}
    keeps_mean: ClassVar[bool] = True

    def make(self, options: Mapping[str, Any] | None = None) -> Policy:
        """Return the policy over three layers of very different sizes.

        Args:
            options: In addition to those of the suite.
        """
        return make_policy(self.plugin, {**self.options, **(options or {})}, LAYERS, seed=SEED, parameters=PARAMETERS)

    def states(self, policy: Policy) -> Iterator[dict[str, float]]:
        """Yield the multipliers as they are at first and after each update."""
        yield policy.multipliers
        if any(policy.due(epoch, 100) for epoch in range(1, 101)):
            for divergences in HISTORY:
                policy.follow(measurement(divergences))
                yield policy.multipliers

    def _weak_and_strong(self) -> list[Policy]:
        """Return the policy, and one that runs to its bounds if it has an option ``gain``."""
        strong = [self.make({"gain": 20.0})] if "gain" in POLICIES.options(self.plugin) else []
        return [self.make(), *strong]

    def test_defaults_make_a_policy_over_its_layers(self) -> None:
        """Every layer has a multiplier, and what is to be measured is said."""
        policy = self.make()
        assert tuple(policy.multipliers) == LAYERS
        assert policy.map_name is None or isinstance(policy.map_name, str)
        assert policy.probe_size >= 1

    def test_the_mean_parameter_learns_at_the_base_rate(self) -> None:
        """The mean multiplier over parameters is 1, at first and after each update."""
        for policy in self._weak_and_strong() if self.keeps_mean else ():
            for multipliers in self.states(policy):
                total = sum(size * alpha for size, alpha in zip(PARAMETERS, multipliers.values(), strict=True))
                assert math.isclose(total / sum(PARAMETERS), 1.0, rel_tol=1e-9), multipliers

    def test_multipliers_stay_within_their_bounds(self) -> None:
        """Whatever divergences are measured, every learning rate remains one, and in [low, high] if there are such."""
        for policy in self._weak_and_strong():
            low, high = getattr(policy, "low", 0.0), getattr(policy, "high", math.inf)
            for multipliers in self.states(policy):
                assert all(0 < value < math.inf and low <= value <= high for value in multipliers.values()), multipliers

    def test_without_gain_it_is_the_constant_policy(self) -> None:
        """A policy with an option ``gain`` leaves, at 0, every multiplier at exactly 1."""
        if "gain" in POLICIES.options(self.plugin):
            for multipliers in self.states(self.make({"gain": 0.0})):
                assert set(multipliers.values()) == {1.0}

    def test_its_state_survives_json(self) -> None:
        """A policy restored from its state, through JSON, is the same policy, and goes on as it would have."""
        whole, before = self.make(), self.make()
        expected = [dict(multipliers) for multipliers in self.states(whole)]
        for steps, _ in enumerate(self.states(before)):
            after = self.make()
            after.load_state_dict(json.loads(json.dumps(before.state_dict())))
            assert after.state_dict() == before.state_dict()
            assert after.multipliers == expected[steps]
            for divergences, multipliers in zip(HISTORY[steps:], expected[steps + 1 :], strict=False):
                after.follow(measurement(divergences))
                assert after.multipliers == multipliers

    def test_it_is_never_due_after_the_last_epoch(self) -> None:
        """An update after the last epoch would move rates that no step uses."""
        assert not any(self.make().due(epochs, epochs) for epochs in range(1, 60))

    def test_its_options_are_annotated_and_documented(self) -> None:
        """Each option has an annotation, which checks it, and a line in the docstring."""
        documentation = inspect.getdoc(POLICIES.load(self.plugin)) or ""
        for name, option in POLICIES.options(self.plugin).items():
            assert option.annotation is not Any, name
            assert f"{name}: " in documentation, name
