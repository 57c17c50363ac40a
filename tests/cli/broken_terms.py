"""A transfer method that only a batch shows to be broken."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from kdstudy.errors import MapError
from kdstudy.models import FeatureExtractor
from kdstudy.transfer.attention import AttentionTransfer
from kdstudy.transfer.base import Observation


class Broken(AttentionTransfer):
    """Attention transfer that cannot observe."""

    def observe(self, network: FeatureExtractor, images: Tensor, draws: Any) -> Observation:
        raise MapError("broken: there is no such map; write another")
