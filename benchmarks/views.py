"""What ``cache.mode: views`` does to the score: eight views an image in turn against fresh augmentation, paired seeds.

A public ResNet-20 (91.7 % on CIFAR-10) teaches a ResNet-8 by logits and attention maps on a part of CIFAR-10; both
sides start from the same weights and see the images in the same order, and in the first eight epochs in the same views.
Prints test accuracy of both sides for each seed, the mean difference with its 90 % interval, and the CPU time.

    python benchmarks/views.py DATA [SEEDS [EPOCHS [TRAIN_IMAGES]]]

DATA holds ``cifar-10-batches-py`` and ``cifar10-teachers/resnet20-12fca82f.th``.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from scipy import stats

from kdstudy.seeds import confirm_seed
from kdstudy.study import TrialConfig, parse_study
from kdstudy.trial import open_teacher, prepare_teacher, run_trial

STUDY = """
name: views
seed: 0
data: {{name: cifar10, val_fraction: 0.2, train_images: {images}, root: {data}}}
teacher:
  model: {{resnet20: {{shortcut: A}}}}
  path: {data}/cifar10-teachers/resnet20-12fca82f.th
  key_map: {{linear: fc}}
  mean: [0.485, 0.456, 0.406]
  std: [0.229, 0.224, 0.225]
student: {{model: resnet8}}
train: {{epochs: {epochs}, batch_size: 64, base_lr: 0.1}}
arms:
  transfers: [{{attention: {{weight: 10.0, kd_weight: 1.0}}}}]
  policies: [constant]
search: {{trials_per_arm: 1}}
confirm: {{seeds: 0}}
cache: {{mode: {mode}, views: 8}}
"""


def main(data: str, seeds: int, epochs: int, images: int) -> None:
    """Run and print."""
    print(f"{epochs} epochs on {images} images (a fifth of them validation), test on all 10,000", flush=True)
    differences = []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(seeds):
            seed = confirm_seed(0, index)
            scores = {}
            for mode in ("views", "off") if index % 2 else ("off", "views"):
                text = STUDY.format(data=data, mode=mode, epochs=epochs, images=images)
                config = parse_study(text).config("attention/constant", {}, data_seed=seed, init_seed=seed)
                scores[mode] = run(config, Path(folder))
            difference = 100 * (scores["views"][0] - scores["off"][0])
            differences.append(difference)
            shown = ", ".join(
                f"{mode} {100 * score:.2f} % in {took:.0f} s CPU" for mode, (score, took) in scores.items()
            )
            print(f"seed {index}: {shown}; difference {difference:+.2f} points", flush=True)
    mean, half = statistics.fmean(differences), interval(differences)
    verdict = "inside" if abs(mean) + half <= 0.5 else "not shown to be inside"
    print(f"views - off: {mean:+.2f} points, 90 % interval [{mean - half:+.2f}, {mean + half:+.2f}]: {verdict} +-0.5")


def run(config: TrialConfig, folder: Path) -> tuple[float, float]:
    """Return test accuracy and CPU seconds of one trial."""
    teacher = open_teacher(folder / prepare_teacher(config, folder).key)
    began = time.process_time()
    result = run_trial(
        config, lambda _record, _result: None, teacher=teacher, cache=folder / "cache" / "study", with_test=True
    )
    assert result.test is not None
    return result.test, time.process_time() - began


def interval(differences: list[float]) -> float:
    """Return half the width of the 90 % t interval of the mean."""
    error = statistics.stdev(differences) / len(differences) ** 0.5
    return float(stats.t.ppf(0.95, len(differences) - 1)) * error


if __name__ == "__main__":
    numbers = [int(value) for value in sys.argv[2:]]
    main(sys.argv[1], *(numbers + [5, 24, 2500][len(numbers) :]))
