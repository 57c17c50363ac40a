"""One epoch of a few steps, as kdstudy, a hand-written loop and torchdistill run it: the contenders of `steps.py`.

All of them start from the same weights and can be given the same batches, so that their losses can be compared before
anything is timed. Data is noise: 3 x 32 x 32, 100 classes.

Shapes: B samples, C channels, H and W positions, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdstudy.data import Augmentation, Batch, Dataset, Source, Split, import_torchvision
from kdstudy.layerwise import layer_groups
from kdstudy.models import NetworkSpec
from kdstudy.study import TrialConfig, parse_study
from kdstudy.training import Distiller, OptimizerSettings, generator
from kdstudy.trial import OutputsRecipe, build_transfer, networks, teacher_outputs, training_batches

BATCH, CLASSES, RATE, MOMENTUM, DECAY = 64, 100, 0.05, 0.9, 5e-4
SHAPE = (3, 32, 32)
LAYERS = ("layer1", "layer2", "layer3")
CPU = torch.device("cpu")

STUDY = """
name: bench
data: {{name: synthetic}}
teacher: {{model: {teacher}, epochs: 1}}
student: {{model: {student}}}
train: {{epochs: 1, batch_size: 64, base_lr: 0.05}}
arms: {{transfers: [{transfer}], policies: [constant]}}
search: {{trials_per_arm: 1}}
cache: {{mode: {cache}}}
numerics: {numerics}
"""


def noise(steps: int) -> Dataset:
    """Return a data set of ``steps`` batches."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (steps * BATCH, *SHAPE), generator=random, dtype=torch.uint8)
    split = Split(images, torch.randint(0, CLASSES, (steps * BATCH,), generator=random))
    return Dataset(
        name="noise",
        num_classes=CLASSES,
        multilabel=False,
        image_shape=SHAPE,
        train=split,
        val=split,
        test=None,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        augmentation=Augmentation(pad=4, flip=True),
        fingerprint="noise",
        fingerprints={},
    )


def noisy(root: Path, download: bool, *, images: int = 640) -> Source:
    """A data set of noise for a study file: ``trainers:noisy``."""
    data = noise(-(-images // BATCH))
    train = data.train.take(torch.arange(images))
    return Source(
        num_classes=10,
        train=Split(train.images, train.labels % 10),
        test=Split(train.images, train.labels % 10),
        mean=data.mean,
        std=data.std,
        augmentation=data.augmentation,
    )


def network(name: str, data: Dataset, seed: int = 0, classes: int = CLASSES) -> nn.Module:
    """Return a network whose batch norms have seen a few batches."""
    module = NetworkSpec(name, {}, classes, SHAPE, data.mean, data.std).build(seed)
    with torch.no_grad():
        for step in range(2):
            module(data.train.images[step * BATCH : (step + 1) * BATCH].float() / 255)
    return module


class Ours:
    """kdstudy's loop.

    Args:
        student: Name of the model.
        teacher: A network, or None.
        transfer: As in a study file.
        data: The images.
        cache: Folder of kept outputs; None to run the teacher in each step.
        numerics: As in a study file.
    """

    def __init__(
        self,
        student: str,
        teacher: tuple[str, nn.Module],
        transfer: str,
        data: Dataset,
        *,
        cache: Path | None = None,
        numerics: str = "{}",
    ) -> None:
        mode = "off" if cache is None else "schedule"
        study = parse_study(
            STUDY.format(teacher=teacher[0], student=student, transfer=transfer, cache=mode, numerics=numerics)
        )
        self.config: TrialConfig = study.config(study.arms[0].name, {}, data_seed=1, init_seed=2)
        self.data = data
        networks_ = networks(self.config, data, copy.deepcopy(teacher[1]), CPU)
        self.student, frozen, context = networks_
        assert frozen is not None
        frozen.module.eval()
        spec = self.config.transfer
        method = build_transfer(spec.name, spec.options, context, seed=2)
        recipe = OutputsRecipe(self.config, data, frozen, method, context, CPU)
        self.teacher_outputs = teacher_outputs(recipe, cache) if method.uses_teacher else None
        self.distiller = Distiller(
            self.student,
            frozen,
            method,
            groups=layer_groups(self.student.module, context.layers, SHAPE),
            optimizer=OptimizerSettings(RATE, MOMENTUM, DECAY, nesterov=False),
            schedule=lambda _: 1.0,
            teacher_outputs=self.teacher_outputs,
        )

    def batches(self) -> Iterable[Batch]:
        """Return the epoch's batches."""
        return training_batches(self.config, self.data, CPU, 1)

    def epoch(self, batches: Iterable[Batch] | None = None) -> float:
        """Run one epoch and return its mean loss."""
        steps = len(self.data.train) // BATCH
        epoch = self.distiller.begin_epoch(
            1,
            self.batches() if batches is None else batches,
            steps=steps,
            directions=generator(1, "directions", 1),
            multipliers={},
        )
        return epoch.run().loss


class ByHand:
    """The shortest loop that does the same: what somebody would write for this one method.

    Args:
        student: Trained.
        teacher: In eval mode; None for plain training.
        losses: (student's, teacher's) logits and features to the terms beside the cross-entropy.
        batches: Gives an epoch's batches.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None,
        losses: Callable[[Any, Any], Tensor],
        batches: Callable[[], Iterable[Batch]],
    ) -> None:
        self.student, self.teacher, self.losses, self.batches = student.train(), teacher, losses, batches
        self.optimizer = torch.optim.SGD(student.parameters(), RATE, momentum=MOMENTUM, weight_decay=DECAY)
        self.seen: dict[nn.Module, list[Tensor]] = {}
        for module in (student, teacher) if teacher is not None else ():
            self.seen[module] = []
            for layer in LAYERS:
                module.get_submodule(layer).register_forward_hook(
                    lambda _m, _i, output, module=module: self.seen[module].append(output)
                )

    def run(self, module: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        if module not in self.seen:
            return module(images), []
        self.seen[module].clear()
        return module(images), list(self.seen[module])

    def epoch(self, batches: Iterable[Batch] | None = None) -> float:
        """Run one epoch and return its mean loss."""
        total, steps = torch.zeros(()), 0
        for images, labels, _ in self.batches() if batches is None else batches:
            own = self.run(self.student, images)
            loss = functional.cross_entropy(own[0], labels)
            if self.teacher is not None:
                with torch.no_grad():
                    other = self.run(self.teacher, images)
                loss = loss + self.losses(own, other)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            total, steps = total + loss.detach(), steps + 1
        return float(total) / steps


def soft_targets(own: Any, other: Any) -> Tensor:
    """Hinton's loss at temperature 4."""
    return 16 * functional.kl_div(
        functional.log_softmax(own[0] / 4, 1), functional.softmax(other[0] / 4, 1), reduction="batchmean"
    )


def attention(own: Any, other: Any) -> Tensor:
    """Squared distances of normalised attention maps, weight 10."""
    maps = [[functional.normalize(f.pow(2).mean(1).flatten(1)) for f in side[1]] for side in (own, other)]
    return 10 * torch.stack([(s - t).pow(2).sum(1).mean() for s, t in zip(*maps, strict=True)]).sum()


METHODS = {
    "kd": ("kd", soft_targets),
    "attention": ("{attention: {weight: 10.0}}", attention),
}


def torchdistill(student: nn.Module, teacher: nn.Module, method: str, data: Dataset) -> Any:
    """Return torchdistill's training box on the same networks, or None where it is not installed.

    Its own data path: a data set of PIL images, torchvision's transforms image by image, a DataLoader. The teacher is
    put in eval mode here, since its pre-epoch step leaves it as it was; our networks normalise inside, so its
    transforms need not.
    """
    import_torchvision()
    try:
        from torch.utils.data import RandomSampler
        from torchdistill.core.distillation import DistillationBox
    except ImportError:
        return None
    layer = {"io": "output"}
    if method == "kd":
        criterion: dict[str, Any] = {
            "key": "KDLoss",
            "kwargs": {
                "student_module_path": ".",
                "student_module_io": "output",
                "teacher_module_path": ".",
                "teacher_module_io": "output",
                "temperature": 4.0,
                "alpha": 1.0,
                "beta": 1.0,
            },
        }
        terms = {"kd": {"criterion": criterion, "weight": 1.0}}
    else:
        sizes = {"layer1": 1024, "layer2": 256, "layer3": 64}  # it averages over positions, we sum
        pairs = {
            name: {"teacher": {**layer, "path": name}, "student": {**layer, "path": name}, "weight": 10.0 * size}
            for name, size in sizes.items()
        }
        labels = {
            "criterion": {"key": "CrossEntropyLoss", "kwargs": {"reduction": "mean"}},
            "criterion_wrapper": {
                "key": "SimpleLossWrapper",
                "kwargs": {
                    "input": {"is_from_teacher": False, "module_path": ".", "io": "output"},
                    "target": {"uses_label": True},
                },
            },
            "weight": 1.0,
        }
        at = {"criterion": {"key": "ATLoss", "kwargs": {"at_pairs": pairs, "mode": "code"}}, "weight": 1.0}
        terms = {"ce": labels, "at": at}
    hooks = {} if method == "kd" else {"forward_hook": {"input": [], "output": list(LAYERS)}}
    loader = {
        "dataset_id": "noise",
        "sampler": {"class_or_func": RandomSampler, "kwargs": {}},
        "kwargs": {"batch_size": BATCH, "num_workers": 0, "drop_last": True},
    }
    return DistillationBox(
        teacher,
        student,
        {"noise": Pictures(data)},
        {
            "num_epochs": 1,
            "train_data_loader": loader,
            "val_data_loader": loader,
            "teacher": {"requires_grad": False, "forward_proc": "forward_batch_only", **hooks},
            "student": {"forward_proc": "forward_batch_only", **hooks},
            "optimizer": {"key": "SGD", "kwargs": {"lr": RATE, "momentum": MOMENTUM, "weight_decay": DECAY}},
            "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": terms}},
        },
        CPU,
        None,
        distributed=False,
        lr_factor=1,
    )


class Pictures(torch.utils.data.Dataset[Any]):
    """The images as PIL pictures, cropped and flipped one by one: the customary CIFAR recipe."""

    def __init__(self, data: Dataset) -> None:
        transforms = import_torchvision().transforms
        assert isinstance(data.train.images, Tensor)
        self.pictures = [transforms.functional.to_pil_image(image) for image in data.train.images]
        self.labels = data.train.labels.tolist()
        self.transform = transforms.Compose(
            [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        )

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.pictures[index]), self.labels[index]


def torchdistill_epoch(box: Any, batches: Iterable[tuple[Tensor, Tensor, Any]] | None = None) -> float:
    """Run one epoch as its example scripts do, and return the mean loss."""
    box.student_model.train()
    box.teacher_model.eval()
    total, steps = 0.0, 0
    for images, labels, extra in box.train_data_loader if batches is None else batches:
        loss = box.forward_process(images, labels, extra if isinstance(extra, dict) else {})
        box.post_forward_process(loss=loss)
        total, steps = total + float(loss.detach()), steps + 1
    return total / steps
