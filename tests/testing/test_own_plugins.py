"""kdstudy's own plug-ins pass the suites that it ships."""

from __future__ import annotations

from typing import Any

import pytest

from kdstudy.plugins import MODELS, POLICIES, PRUNERS, SAMPLERS, TRANSFERS, Registry
from kdstudy.testing import (
    DatasetSuite,
    ModelSuite,
    PolicySuite,
    PrunerSuite,
    SamplerSuite,
    TransferSuite,
)
from kdstudy.testing.samplers import COUNTABLE

# What the small networks and spaces of the suites need other than the defaults.
OPTIONS: dict[str, dict[str, Any]] = {
    "crd": {"negatives": 64, "dim": 16},
    "torchvision": {"name": "resnet18", "weights": "none"},
    "timm": {"name": "resnet18", "weights": "none"},
}
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


def each(registry: Registry) -> Any:
    """Sets a suite's plug-in to each registered one in turn."""

    @pytest.fixture(autouse=True, params=list(registry))
    def choose(self: Any, request: pytest.FixtureRequest) -> None:
        self.plugin = request.param
        self.options = OPTIONS.get(request.param, {})
        if request.param == "grid":
            self.space = COUNTABLE

    return choose


class TestTransfers(TransferSuite):
    choose = each(TRANSFERS)


class TestPolicies(PolicySuite):
    choose = each(POLICIES)


class TestSamplers(SamplerSuite):
    choose = each(SAMPLERS)


class TestPruners(PrunerSuite):
    choose = each(PRUNERS)


class TestModels(ModelSuite):
    choose = each(MODELS)


class TestDigits(DatasetSuite):
    plugin = "digits"


class TestSynthetic(DatasetSuite):
    plugin = "synthetic"
