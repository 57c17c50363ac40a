"""Conformance suites for plug-ins, for whoever writes one: derive a test class from a suite and name the plug-in.

Example::

    from kdstudy.testing import TransferSuite

    class TestActivity(TransferSuite):
        plugin = "my_package.activity:ActivityTransfer"

pytest collects the inherited tests. A plug-in outside kdstudy must be allowed, as anywhere:
``KDSTUDY_ALLOW_PLUGINS=my_package``. kdstudy's own plug-ins pass the same suites in its own tests.
"""

import sys

if "pytest" in sys.modules:  # so that a failed assertion shows its values
    SUITES = ("datasets", "models", "policies", "pruners", "samplers", "transfers")
    sys.modules["pytest"].register_assert_rewrite(*(f"kdstudy.testing.{name}" for name in SUITES))

from kdstudy.testing.datasets import DatasetSuite
from kdstudy.testing.models import ModelSuite
from kdstudy.testing.networks import SmallNet, context_of, small_batch, small_net
from kdstudy.testing.policies import PolicySuite
from kdstudy.testing.pruners import PrunerSuite
from kdstudy.testing.samplers import SamplerSuite
from kdstudy.testing.transfers import TransferSuite

__all__ = [
    "DatasetSuite",
    "ModelSuite",
    "PolicySuite",
    "PrunerSuite",
    "SamplerSuite",
    "SmallNet",
    "TransferSuite",
    "context_of",
    "small_batch",
    "small_net",
]
