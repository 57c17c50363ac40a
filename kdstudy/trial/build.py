"""What a trial is made of: data, networks, method, policy, probe instrument, each built from its configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from kdstudy.data import Dataset, batches, load_data
from kdstudy.layerwise import Policy, match_layers
from kdstudy.models import Network, build_model, trace
from kdstudy.plugins import POLICIES, TRANSFERS
from kdstudy.seeds import derive
from kdstudy.study import TrialConfig
from kdstudy.training import generator, student_network, teacher_network
from kdstudy.transfer import MapTransfer, Transfer, TransferContext

Images = tuple[Tensor, Tensor, Tensor]
"""Images, labels and indices of one batch: see `kdstudy.data.batches`."""


def dataset_of(config: TrialConfig, *, with_test: bool) -> Dataset:
    """Load the configuration's data set; the test split only where it may be looked at."""
    data = config.data
    return load_data(
        data.name,
        val_fraction=data.val_fraction,
        root=data.root,
        train_images=data.train_images,
        download=data.download,
        augment=data.augment,
        options=data.options,
        split_seed=config.split_seed,
        with_test=with_test,
    )


def training_batches(config: TrialConfig, data: Dataset, device: torch.device, epoch: int) -> Iterator[Images]:
    """Yield the batches of one epoch, a function of the configuration's data seed."""
    seed = config.data_seed
    return batches(
        data.train,
        batch_size=config.train.batch_size,
        device=device,
        augmentation=data.augmentation,
        order=generator(seed, "order", epoch),
        augment=generator(seed, "augment", view_of(config, epoch)),
    )


def view_of(config: TrialConfig, epoch: int) -> int:
    """Return the epoch, from 1, whose views of the images are shown in ``epoch``: itself, unless they recur."""
    return (epoch - 1) % config.cache.views + 1 if config.cache.mode == "views" else epoch


def describe_dataset(data: Dataset) -> dict[str, Any]:
    """Return what the record keeps of a data set."""
    channels, height, width = data.image_shape
    return {
        "name": data.name,
        "fingerprint": data.fingerprint,
        "fingerprints": data.fingerprints,
        "num_classes": data.num_classes,
        "multilabel": data.multilabel,
        "channels": channels,
        "height": height,
        "width": width,
        "train": len(data.train),
        "val": len(data.val),
    }


def networks(
    config: TrialConfig,
    data: Dataset,
    teacher: torch.nn.Module | None,
    device: torch.device,
    wrapped: Callable[..., Network] = teacher_network,
) -> tuple[Network, Network | None, TransferContext]:
    """Build the student, match its crucial layers with the teacher's, and wrap both.

    Args:
        config: The trial.
        data: Its data set.
        teacher: None for training without one.
        device: Of the training.
        wrapped: Wraps the teacher, as `teacher_network` does.

    Returns:
        Student, teacher (None if none is given), and what a transfer method may know of them.

    Raises:
        ModelError: No layers match.
    """
    model = config.student.model
    module = build_model(
        model.name,
        model.options,
        num_classes=data.num_classes,
        image_shape=data.image_shape,
        mean=data.mean,
        std=data.std,
        seed=config.init_seed,
    )
    pairs = (
        ()
        if teacher is None
        else match_layers(trace(module, data.image_shape), trace(teacher, data.image_shape), config.layers)
    )
    context = TransferContext(
        layers=tuple(pair.student for pair in pairs),
        student_shapes=tuple(pair.student_shape for pair in pairs),
        teacher_shapes=tuple(pair.teacher_shape for pair in pairs),
        image_shape=data.image_shape,
        num_classes=data.num_classes,
        num_train=len(data.train.images),
        student=module,
        teacher=module if teacher is None else teacher,
        teacher_layers=tuple(pair.teacher for pair in pairs),
    )
    student = student_network(module.to(device), context.layers, config.numerics)
    if teacher is None:
        return student, None, context
    return (
        student,
        wrapped(teacher.to(device), context.teacher_layers, config.numerics, data.image_shape),
        context,
    )


def build_transfer(name: str, options: dict[str, Any], context: TransferContext, *, seed: int) -> Transfer:
    """Build the transfer method called ``name`` on the CPU, its own initial weights a function of ``seed`` alone.

    Args:
        name: A registered method, or one of the user's own.
        options: Its keyword-only arguments.
        context: Networks and shapes.
        seed: The trial's initialisation seed; adaptors draw from a stream of their own.
    """
    method = TRANSFERS.load(name)
    # Only the CPU generator is touched, and put back: building must not shift any other random stream.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(derive(seed, "transfer"))
        transfer: Transfer = method(context, **options)
    return transfer


def build_policy(config: TrialConfig, layers: tuple[str, ...]) -> Policy:
    """Build the configuration's learning-rate policy over the crucial layers."""
    policy: Policy = POLICIES.load(config.policy.name)(layers, **config.policy.options)
    policy.seed = derive(config.init_seed, "policy")
    return policy


def build_instrument(config: TrialConfig, policy: Policy, context: TransferContext) -> MapTransfer:
    """Build the method whose maps feed the controller: the policy's choice, else the transfer's own, else attention."""
    own = issubclass(TRANSFERS.load(config.transfer.name), MapTransfer)
    name = policy.map_name or (config.transfer.name if own else "attention")
    options = config.transfer.options if name == config.transfer.name else {}
    instrument = build_transfer(name, options, context, seed=config.init_seed)
    assert isinstance(instrument, MapTransfer)
    return instrument


def student_description(config: TrialConfig, data: Dataset) -> dict[str, Any]:
    """Return what rebuilds the student's network from its weights file."""
    model = config.student.model
    return {
        "model": model.name,
        "options": model.options,
        "num_classes": data.num_classes,
        "image_shape": list(data.image_shape),
        "mean": list(data.mean),
        "std": list(data.std),
        "provenance": {
            "study": config.name,
            "arm": config.arm,
            "data": data.fingerprint,
            "data_seed": config.data_seed,
            "init_seed": config.init_seed,
        },
    }
