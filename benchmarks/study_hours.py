"""What a study costs on this machine: FLOPs and seconds of a step, and the hours of all its trials.

Takes no data: the images are noise of the right shape. Measured is a training step of each transfer, teacher run in it:
on the GPU if there is one (wall time, the device awaited), else on one thread (CPU time). Hours are seconds times
steps, one trial at a time on one device. Not counted: validation, probes, reading images, start-up. What `cache` saves
and what `resources.gpus` packs on one GPU are not measured either.

    python -m benchmarks.study_hours STUDY.yaml [STEPS]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import table, where
from kdstudy.data import Augmentation, Batch, Dataset, Split
from kdstudy.layerwise import layer_groups
from kdstudy.study import Study, TrialConfig, load_study
from kdstudy.training import Distiller, OptimizerSettings, generator
from kdstudy.trial import build_transfer, networks, teacher_spec, teacher_trial

SIZES = {"cifar10": (50_000, 10, 32), "cifar100": (50_000, 100, 32), "coco": (118_287, 80, 64)}
"""Training images as distributed, classes, height and width unless the study says otherwise."""

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main(path: Path, steps: int) -> None:
    """Print the table of one study."""
    study = load_study(path)
    if study.data.name not in SIZES:
        raise SystemExit(f"data.name: known are {', '.join(SIZES)}, got {study.data.name}; add it to SIZES")
    images = training_images(study)
    print(
        where(),
        torch.cuda.get_device_name()
        if DEVICE.type == "cuda"
        else "no GPU here: hours of one CPU thread, not GPU hours",
    )
    print(f"{path.name}: {images} training images, {len(study.arms)} arms of {trials_of(study)} trials\n")
    rows, total = [], 0.0
    for what, config, runs in costs(study):
        flops, seconds = measured(step_of(config, DEVICE), steps, DEVICE)
        hours = hours_of(config, images, seconds)
        total += hours * runs
        rows.append([what, f"{flops / 1e9:.2f}", f"{seconds:.4f}", f"{hours:.2f}", str(runs), f"{hours * runs:.1f}"])
    head = ["", "GFLOP a step", "seconds a step", "hours a trial", "trials", "hours"]
    print(table(head, [*rows, ["all", "", "", "", "", f"{total:.0f}"]]))


def training_images(study: Study) -> int:
    """Return how many images its trials are trained on."""
    images = study.data.train_images or SIZES[study.data.name][0]
    return round(images * (1 - study.data.val_fraction))


def trials_of(study: Study) -> int:
    """Return how many trials an arm has."""
    return study.search.trials_per_arm + study.confirm.seeds


def hours_of(config: TrialConfig, images: int, seconds: float) -> float:
    """Return the hours of a trial whose steps take so many seconds."""
    return seconds * -(-images // config.train.batch_size) * config.train.epochs / 3600


def costs(study: Study) -> list[tuple[str, TrialConfig, int]]:
    """Return what is trained how often: the teacher unless it is loaded, then each transfer under all its policies."""
    trials = trials_of(study)
    configs = {config.transfer.name: config for _, config in study.corners()}
    arms = [arm.transfer.name for arm in study.arms]
    found = [(name, config, trials * arms.count(name)) for name, config in configs.items()]
    if study.teacher.path is None:
        found.insert(0, ("teacher", teacher_trial(found[0][1]), 1))
    return found


def step_of(config: TrialConfig, device: torch.device) -> Callable[[], object]:
    """Return one training step of a trial on ``device``, networks untrained."""
    data = noise(config)
    teacher = None
    if config.transfer.name != "none":
        teacher = teacher_spec(config, data).build(seed=0)
    student, frozen, context = networks(config, data, teacher, device)
    transfer = build_transfer(config.transfer.name, config.transfer.options, context, seed=0).to(device)
    distiller = Distiller(
        student,
        frozen,
        transfer,
        groups=layer_groups(student.module, context.layers, data.image_shape),
        optimizer=OptimizerSettings(1e-3, config.train.momentum, config.train.weight_decay, config.train.nesterov),
        schedule=lambda _: 1.0,
    )
    assert isinstance(data.train.images, torch.Tensor)
    batch = Batch(
        data.train.images.to(device).float() / 255,
        data.train.labels.to(device),
        torch.arange(len(data.train.images), device=device),
    )
    return lambda: distiller.begin_epoch(
        1, [batch], steps=1, directions=generator(0, "directions", 1), multipliers={}
    ).run()


def noise(config: TrialConfig) -> Dataset:
    """Return one batch of noise in the shape of the trial's images."""
    _, classes, side = SIZES[config.data.name]
    side = config.data.options.get("size", side)
    several = config.data.name == "coco"
    random = torch.Generator().manual_seed(0)
    count = config.train.batch_size
    images = torch.randint(0, 256, (count, 3, side, side), generator=random, dtype=torch.uint8)
    labels = torch.randint(0, 2 if several else classes, (count, classes) if several else (count,), generator=random)
    split = Split(images, labels.float() if several else labels)
    return Dataset(
        name=config.data.name,
        num_classes=classes,
        multilabel=several,
        image_shape=(3, side, side),
        train=split,
        val=split,
        test=None,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        augmentation=Augmentation(pad=0, flip=False),
        fingerprint="noise",
        fingerprints={},
    )


def measured(step: Callable[[], object], steps: int, device: torch.device) -> tuple[float, float]:
    """Return floating-point operations (two a multiply-add) and median seconds of a step, after two to warm up."""
    step()
    with FlopCounterMode(display=False) as counter:
        step()
    seconds = []
    for _ in range(steps):
        began = now(device)
        step()
        seconds.append(now(device) - began)
    return float(counter.get_total_flops()), statistics.median(seconds)


def now(device: torch.device) -> float:
    """Return the time in seconds: the wall's when the GPU is done, else this process's own."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5)
