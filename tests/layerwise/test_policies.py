"""What every registered learning-rate policy promises, and those with fixed multipliers."""

import inspect
import json
import subprocess
import sys
from typing import Any

import pytest

from kdstudy.layerwise.constant import ConstantPolicy
from kdstudy.layerwise.decay import DecayPolicy
from kdstudy.plugins import POLICIES

LAYERS = ["a", "b", "c"]


@pytest.mark.parametrize("name", tuple(POLICIES))
def test_defaults_make_a_policy_whose_mean_rate_is_the_base_rate(name: str) -> None:
    policy = POLICIES.load(name)(LAYERS)
    assert list(policy.multipliers) == LAYERS
    assert sum(policy.multipliers.values()) / 3 == pytest.approx(1.0)
    assert policy.map_name is None
    assert policy.probe_size >= 1


@pytest.mark.parametrize("name", tuple(POLICIES))
def test_its_state_survives_json(name: str) -> None:
    policy, other = POLICIES.load(name)(LAYERS), POLICIES.load(name)(LAYERS)
    if policy.due(25, 100):
        policy.update([0.1, 0.2, 0.4])
    other.load_state_dict(json.loads(json.dumps(policy.state_dict())))
    assert other.multipliers == policy.multipliers
    assert other.state_dict() == policy.state_dict()


@pytest.mark.parametrize("name", tuple(POLICIES))
def test_its_options_are_annotated_and_documented(name: str) -> None:
    plugin = POLICIES.load(name)
    documentation = inspect.getdoc(plugin) or ""
    assert "Source:" in documentation
    for option in POLICIES.options(name):
        assert f"{option}: " in documentation


def test_policies_import_without_torch() -> None:
    modules = ", ".join({POLICIES.load(name).__module__ for name in POLICIES})
    check = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_constant_is_never_due() -> None:
    policy = ConstantPolicy(LAYERS)
    assert not any(policy.due(epoch, 100) for epoch in range(1, 101))
    assert policy.multipliers == {"a": 1.0, "b": 1.0, "c": 1.0}


def test_decay_by_hand() -> None:
    assert DecayPolicy(LAYERS, rate=0.5, normalise="off").multipliers == {"a": 0.125, "b": 0.25, "c": 0.5}
    # (1/8, 1/4, 1/2) over their mean 7/24
    mean_of_layers = pytest.approx({"a": 3 / 7, "b": 6 / 7, "c": 12 / 7})
    assert DecayPolicy(LAYERS, rate=0.5).multipliers == mean_of_layers
    assert DecayPolicy(LAYERS, 0, (1, 1, 2), rate=0.5, normalise="layers").multipliers == mean_of_layers
    # over (1/8 + 1/4 + 2/2) / 4 = 11/32
    by_size = DecayPolicy(LAYERS, 0, (1, 1, 2), rate=0.5)
    assert by_size.multipliers == pytest.approx({"a": 4 / 11, "b": 8 / 11, "c": 16 / 11})
    assert not DecayPolicy(LAYERS).due(1, 2)


def test_decay_in_a_record_of_earlier_versions_is_what_it_was() -> None:
    # The digits that they computed: factors over their plain mean, nothing else.
    factors = [0.75**3, 0.75**2, 0.75]
    found = DecayPolicy(LAYERS, 0, (1, 1, 2), normalise=True)  # type: ignore[arg-type]
    assert list(found.multipliers.values()) == [factor / (sum(factors) / 3) for factor in factors]
    assert list(DecayPolicy(LAYERS, normalise=False).multipliers.values()) == factors  # type: ignore[arg-type]


@pytest.mark.parametrize("normalise", ["parameters", "layers", "off"])
def test_decay_of_rate_one_is_the_constant_policy(normalise: Any) -> None:
    decay = DecayPolicy(LAYERS, rate=1.0, normalise=normalise)
    assert decay.multipliers == ConstantPolicy(LAYERS).multipliers


def test_no_layers_are_no_trouble_to_policies_that_measure_nothing() -> None:
    assert DecayPolicy([]).multipliers == ConstantPolicy([]).multipliers == {}
