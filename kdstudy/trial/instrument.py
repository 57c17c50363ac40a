"""Builds what measures a student's layers for its policy: the probe, and the method whose maps it compares."""

from __future__ import annotations

import torch

from kdstudy.data import Dataset
from kdstudy.layerwise import Policy
from kdstudy.plugins import TRANSFERS
from kdstudy.study import PluginSpec, TrialConfig
from kdstudy.training import Probe, generator
from kdstudy.transfer import MapTransfer, TransferContext
from kdstudy.trial.build import build_transfer


def build_instrument(transfer: PluginSpec, policy: Policy, context: TransferContext, *, seed: int) -> MapTransfer:
    """Build the method whose maps feed the controller: the policy's choice, else the transfer's own, else attention.

    Args:
        transfer: The transfer method.
        policy: Which measures.
        context: Networks and shapes.
        seed: The trial's initialisation seed.
    """
    own = issubclass(TRANSFERS.load(transfer.name), MapTransfer)
    name = policy.map_name or (transfer.name if own else "attention")
    options = transfer.options if name == transfer.name else {}
    instrument = build_transfer(name, options, context, seed=seed)
    assert isinstance(instrument, MapTransfer)
    return instrument


def build_probe(
    config: TrialConfig, policy: Policy, context: TransferContext, data: Dataset, device: torch.device
) -> Probe | None:
    """Build what measures the divergences that ``policy`` asks for; None where it never asks."""
    epochs = config.train.epochs
    if not any(policy.due(epoch, epochs) for epoch in range(1, epochs + 1)):
        return None
    choice = generator(config.data_seed, "probe-images")
    chosen = torch.randperm(len(data.train.images), generator=choice)[: policy.probe_size]
    images = data.train.seen(chosen).to(device).float() / 255
    return Probe(
        build_instrument(config.transfer, policy, context, seed=config.init_seed).to(device),
        images,
        generator(config.data_seed, "probe-directions"),
        policy.b1,
    )
