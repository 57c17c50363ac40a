"""Builds each part of a trial from its configuration: data, networks, transfer method, policy, probe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch

from kdstudy.data import Batch, Dataset, batches, load_data, verify_images
from kdstudy.layerwise import Policy, layer_groups, layer_sizes, make_policy
from kdstudy.models import FeatureExtractor, NetworkSpec, seeded_generators, synchronise_batch_norms
from kdstudy.plugins import TRANSFERS
from kdstudy.seeds import derive, search_seed
from kdstudy.study import PluginSpec, TrialConfig
from kdstudy.training import (
    ALONE,
    BatchShare,
    Distiller,
    LabelTerm,
    Ranks,
    TeacherOutputs,
    chance_score,
    generator,
    param_groups,
    student_network,
    teacher_network,
)
from kdstudy.transfer import Transfer, TransferContext
from kdstudy.trial.pairs import context_of, layer_pairs, need_of
from kdstudy.trial.recipe import optimizer_settings, rate_factor

EVAL_BATCH = 512
"""Images that are scored at once."""


class TrialNetworks(NamedTuple):
    """The networks of a trial.

    Attributes:
        student: On the training device.
        teacher: Likewise; None for training without one.
        context: What a transfer method may know of the two.
    """

    student: FeatureExtractor
    teacher: FeatureExtractor | None
    context: TransferContext


def dataset_of(config: TrialConfig, *, with_test: bool, decoded: bool = True, download: bool | None = None) -> Dataset:
    """Load the configuration's data set; the test split only where it may be looked at.

    Args:
        config: The trial.
        with_test: Whether the test split is given.
        decoded: False where no image is looked at, only what describes the data.
        download: Whether missing data may be fetched; None for what the configuration says.
    """
    data = config.data
    return load_data(
        data.name,
        val_fraction=data.val_fraction,
        root=data.root,
        train_images=data.train_images,
        download=data.download if download is None else download,
        augment=data.augment
        if isinstance(data.augment, bool)
        else [(each.name, each.options) for each in data.augment],
        options=data.options,
        split_seed=config.split_seed,
        with_test=with_test,
        decoded=decoded,
    )


def verify_data(config: TrialConfig, searches: int) -> None:
    """See that every image that so many searches of a study, and their confirmation, look at can be decoded.

    Args:
        config: Any trial of the study.
        searches: How many, >= 1.

    Raises:
        DataError: One cannot.
    """
    data, seed = config.data, config.as_study.split_seed
    verify_images(
        data.name,
        split_seeds=[search_seed(seed, search) for search in range(searches)],
        val_fraction=data.val_fraction,
        root=data.root,
        train_images=data.train_images,
        download=data.download,
        options=data.options,
    )


def training_batches(
    config: TrialConfig, data: Dataset, device: torch.device, epoch: int, ranks: Ranks = ALONE
) -> Iterator[Batch]:
    """Yield the batches of one epoch, a function of the configuration's data seed; a rank its own images of each."""
    seed = config.data_seed
    return batches(
        data.train,
        batch_size=config.train.batch_size,
        device=device,
        augmentation=data.augmentation,
        order=generator(seed, "order", epoch),
        augment=generator(seed, "augment", view_of(config, epoch)),
        rows=ranks.rows,
    )


def largest_batch(trials: Iterable[TrialConfig]) -> int:
    """Return how many images the largest batch has of these trials, of their scoring and of their teacher."""
    return max(EVAL_BATCH, *(max(trial.train.batch_size, trial.teacher.batch_size) for trial in trials))


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
        "test": data.num_test,
        "chance": chance_score(data.val.labels, data.num_classes),
        "classes": list(data.classes),
        "place": data.place,
        "notes": list(data.notes),
    }


def student_spec(config: TrialConfig, data: Dataset) -> NetworkSpec:
    """Return what the student is built from; it normalises images as the data set does."""
    return _spec(config.student.model, data, data.mean, data.std)


def teacher_spec(config: TrialConfig, data: Dataset) -> NetworkSpec:
    """Return what the teacher is built from; it may have its own mean and standard deviation.

    Those of weights that its model begins with come before either: see `kdstudy.models.build_model`.
    """
    teacher = config.teacher
    return _spec(teacher.model, data, teacher.mean or data.mean, teacher.std or data.std)


def _spec(model: PluginSpec, data: Dataset, mean: tuple[float, ...], std: tuple[float, ...]) -> NetworkSpec:
    return NetworkSpec(model.name, model.options, data.num_classes, data.image_shape, mean, std)


def networks(
    config: TrialConfig,
    data: Dataset,
    teacher: torch.nn.Module | None,
    device: torch.device,
    wrap_teacher: Callable[..., FeatureExtractor] = teacher_network,
    ranks: Ranks = ALONE,
) -> TrialNetworks:
    """Build the student, match its crucial layers with the teacher's, and wrap both.

    Args:
        config: The trial.
        data: Its data set.
        teacher: None for training without one.
        device: Of the training.
        wrap_teacher: Called as `teacher_network`.
        ranks: That train the student.

    Raises:
        ModelError: No layers match, and the trial needs some.
    """
    module = student_spec(config, data).build(config.init_seed)
    shape, need = data.image_shape, need_of(config.transfer, config.policy)
    pairs = () if teacher is None else layer_pairs(module, teacher, shape, layers=config.layers, need=need)
    counts = {"num_classes": data.num_classes, "num_train": len(data.train.images)}
    context = context_of(pairs, module, module if teacher is None else teacher, shape, **counts)
    layouts = {pair.student: pair.student_layout for pair in pairs}
    if ranks.size > 1 and config.numerics.sync_batch_norm:
        synchronise_batch_norms(module, ranks)
    student = student_network(module.to(device), context.layers, config.numerics, layouts)
    wrapped = None
    if teacher is not None:
        wrapped = wrap_teacher(
            teacher.to(device),
            context.teacher_layers,
            config.numerics,
            data.image_shape,
            layouts={pair.teacher: pair.teacher_layout for pair in pairs},
        )
    return TrialNetworks(student, wrapped, context)


def build_transfer(name: str, options: dict[str, Any], context: TransferContext, *, seed: int) -> Transfer:
    """Build the transfer method called ``name`` on the CPU, its own initial weights a function of ``seed`` alone.

    Args:
        name: A registered method, or one of the user's own.
        options: Its keyword-only arguments.
        context: Networks and shapes.
        seed: The trial's initialisation seed; adaptors draw from a stream of their own.
    """
    method = TRANSFERS.load(name)
    with seeded_generators(derive(seed, "transfer")):
        transfer: Transfer = method(context, **options)
    return transfer


def student_groups(built: TrialNetworks, transfer: Transfer, shape: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Return the groups of an optimizer over a student and its method; ``shape`` is (C, H, W) of the images."""
    student = built.student.module
    return param_groups(student, layer_groups(student, built.context.layers, shape), transfer)


def build_distiller(
    config: TrialConfig,
    data: Dataset,
    built: TrialNetworks,
    transfer: Transfer,
    outputs: TeacherOutputs | None,
    share: BatchShare | None = None,
) -> Distiller:
    """Build the training loop.

    Args:
        config: The trial.
        data: Its data set.
        built: Its networks.
        transfer: Its transfer method, on the training device.
        outputs: Where the teacher's come from; None runs it in each step, if the method uses it.
        share: This rank's share of every batch; None for the whole.
    """
    return Distiller(
        built.student,
        built.teacher,
        transfer,
        groups=layer_groups(built.student.module, built.context.layers, data.image_shape),
        optimizer=optimizer_settings(config),
        schedule=rate_factor(config),
        teacher_outputs=outputs,
        share=share,
        labels=LabelTerm(config.train.label_weight, config.train.label_smoothing),
    )


def build_policy(spec: PluginSpec, layers: tuple[str, ...], parameters: tuple[int, ...], *, seed: int) -> Policy:
    """Build a learning-rate policy over the crucial layers.

    Args:
        spec: Which, with its options.
        layers: Names of the student's crucial layers, in order of depth.
        parameters: Number of each one's parameters.
        seed: The trial's initialisation seed; the policy draws from a stream of its own.
    """
    return make_policy(spec.name, spec.options, layers, seed=derive(seed, "policy"), parameters=parameters)


def policy_over(config: TrialConfig, built: TrialNetworks, data: Dataset) -> Policy:
    """Build a trial's policy over the crucial layers of its student, sized by it; see `build_policy`."""
    layers = built.context.layers
    sizes = layer_sizes(built.student.module, layers, data.image_shape)
    return build_policy(config.policy, layers, sizes, seed=config.init_seed)
