"""What every learning-rate policy promises."""

from __future__ import annotations

import inspect
import json
import math
from typing import Any, ClassVar

from kdstudy.layerwise import Policy
from kdstudy.plugins import POLICIES

LAYERS = ("a", "b", "c")


class PolicySuite:
    """Tests of one policy; derive from it and set `plugin`.

    Attributes:
        plugin: Registered name, or ``package.module:Name``.
        options: Options the policy is built with, where its defaults do not do.
    """

    plugin: str
    options: ClassVar[dict[str, Any]] = {}

    def make(self) -> Policy:
        """Return the policy over three layers."""
        policy: Policy = POLICIES.load(self.plugin)(LAYERS, **self.options)
        return policy

    def test_defaults_make_a_policy_whose_mean_rate_is_the_base_rate(self) -> None:
        """The mean multiplier is 1 before the first update."""
        policy = self.make()
        assert tuple(policy.multipliers) == LAYERS
        assert math.isclose(sum(policy.multipliers.values()) / len(LAYERS), 1.0, rel_tol=1e-6)
        assert policy.map_name is None or isinstance(policy.map_name, str)
        assert policy.probe_size >= 1

    def test_its_state_survives_json(self) -> None:
        """A policy restored from its state, through JSON, is the same policy."""
        policy, other = self.make(), self.make()
        if any(policy.due(epoch, 100) for epoch in range(1, 101)):
            policy.update([0.1, 0.2, 0.4])
        other.load_state_dict(json.loads(json.dumps(policy.state_dict())))
        assert other.multipliers == policy.multipliers
        assert other.state_dict() == policy.state_dict()

    def test_multipliers_stay_positive_and_finite(self) -> None:
        """Whatever divergences are measured, every learning rate remains one."""
        policy = self.make()
        if not any(policy.due(epoch, 100) for epoch in range(1, 101)):
            return
        for divergences in ([0.0, 0.0, 0.0], [1.0, 0.0, 0.5], [1e-12, 1.0, 1.0]) * 5:
            policy.update(divergences)
            assert all(0 < value < math.inf for value in policy.multipliers.values())

    def test_it_is_never_due_after_the_last_epoch(self) -> None:
        """An update after the last epoch would move rates that no step uses."""
        assert not any(self.make().due(epochs, epochs) for epochs in range(1, 60))

    def test_its_options_are_annotated_and_documented(self) -> None:
        """Each option has an annotation, which checks it, and a line in the docstring."""
        documentation = inspect.getdoc(POLICIES.load(self.plugin)) or ""
        for name, option in POLICIES.options(self.plugin).items():
            assert option.annotation is not Any, name
            assert f"{name}: " in documentation, name
