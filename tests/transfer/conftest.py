"""The small networks and the batch of `kdstudy.testing`, in float64, as fixtures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

from kdstudy.testing import context_of as suite_context_of
from kdstudy.testing import small_batch
from kdstudy.testing import small_net as suite_small_net
from kdstudy.transfer import Batch, TransferContext


@pytest.fixture
def small_net() -> Callable[..., nn.Module]:
    return suite_small_net


@pytest.fixture
def context_of() -> Callable[..., TransferContext]:
    return suite_context_of


@pytest.fixture
def batch() -> Batch:
    return small_batch()
