"""What the networks of a study begin with: published weights, whose files records name by their sha256."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn

from kdstudy.data import Dataset
from kdstudy.errors import ModelError
from kdstudy.models import NetworkSpec, Pretrained, pretrained_of
from kdstudy.results import HELD_OUT, weights_together
from kdstudy.study import TrialConfig
from kdstudy.trial.build import student_spec


def began_with(spec: NetworkSpec) -> Pretrained | None:
    """Return what is known of the weights that a network begins with; None where it begins with none.

    Builds the network only if it may: one of kdstudy's, without the option ``weights``, never does.

    Raises:
        ModelError: It cannot be built, or its weights cannot be had.
    """
    return pretrained_of(spec.build(seed=0)) if ":" in spec.model or "weights" in spec.options else None


def weights_named(known: Pretrained | None) -> dict[str, str]:
    """Return name and sha256 of weights, as records hold them; empty where there are none, or not here yet."""
    return {} if known is None or known.sha256 is None else {known.name: known.sha256}


def students_weights(configs: Iterable[TrialConfig], data: Dataset) -> dict[str, str]:
    """Return name and sha256 of all weights that the students of some trials begin with.

    Args:
        configs: The trials, of one study.
        data: Its data set.
    """
    specs = {repr(config.student.model): student_spec(config, data) for config in configs}
    return weights_together(weights_named(began_with(spec)) for spec in specs.values())


def require_source(config: TrialConfig, module: nn.Module) -> None:
    """See that the teacher's last weights come from somewhere: its file, training here, or its model as it is.

    Args:
        config: Any trial of the study.
        module: The teacher's network, as its model gives it.

    Raises:
        ModelError: They do not, or the study and the weights both say how images are normalised.
    """
    teacher, known = config.teacher, pretrained_of(module)
    if teacher.mean is not None and known is not None and known.mean is not None:
        raise ModelError(
            f"teacher.mean: '{known.name}' brings mean {list(known.mean)} and std {list(known.std or ())}, got "
            f"{list(teacher.mean)}; leave mean and std out"
        )
    if teacher.path is not None or teacher.epochs is not None:
        return
    if known is None:
        raise ModelError(
            "teacher: needs weights, and its model brings none that kdstudy.models.with_weights knows of; write path, "
            "or epochs to train it here"
        )
    if teacher.head_epochs is None and known.new_head:
        raise ModelError(
            f"teacher: '{known.name}' tells {known.classes} classes apart, not those of the data, so its last layer is "
            "untrained; write head_epochs: 5 to train that layer alone, or epochs: 5 to train all of it"
        )


def weights_told(owner: str, module: nn.Module) -> Iterator[str]:
    """Yield which weights a network begins with; nothing where it begins with none.

    Args:
        owner: ``teacher`` or ``student``.
        module: Its network.
    """
    known = pretrained_of(module)
    if known is None:
        return
    if known.sha256 is None:
        yield f"note: {owner}: the weights '{known.name}' are not here yet ({known.file}) and will be downloaded"
    else:
        head = f", its last layer new (the weights tell {known.classes} classes apart)" if known.new_head else ""
        yield f"{owner}: begins with '{known.name}', sha256 {known.sha256[:12]}{head}"


def carved_test(data: Dataset) -> str:
    """Return what to beware of in a network that was trained elsewhere on the same folder; empty if nothing."""
    if not any(HELD_OUT in note for note in data.notes):
        return ""
    return (
        "the data have no test split, so its images are held out of the training images: a network trained elsewhere "
        "on all of these has seen them, and its test score says nothing of new images; keep a test split of your own"
    )


def weights_doubted(owner: str, module: nn.Module, data: Dataset) -> Iterator[str]:
    """Yield what to beware of in those weights.

    Args:
        owner: ``teacher`` or ``student``.
        module: Its network.
        data: What it is trained and scored on.
    """
    known = pretrained_of(module)
    if known is None:
        return
    yield (
        f"{owner}: the weights '{known.name}' may have been trained on images of this data set, those of the "
        "validation and test splits included; kdstudy cannot know (seen: unknown)"
    )
    if carved := carved_test(data):
        yield f"{owner}: {carved}"
    side = module.get_submodule("normalise").size or data.image_shape[1]
    if known.size is not None and side != known.size:
        yield (
            f"{owner}: the weights '{known.name}' were trained at {known.size}x{known.size}, and see {side}x{side}; "
            f"make the images as large (data.options.size), or write size: {known.size} in its model"
        )
    yield from (f"{owner}: {note}" for note in known.notes)
