"""A study of a user's own images, augmented by a list, is killed in the middle of a trial and goes on bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.data.hugging import make_hub_folder
from tests.end_to_end.pinned import kdstudy, kdstudy_json, killed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MODULE = """
import torch
from kdstudy.data import TrainTest
from torch.utils.data import Dataset


class Dots(Dataset):
    def __init__(self, count):
        self.targets = [index % 2 for index in range(count)]
    def __len__(self):
        return len(self.targets)
    def __getitem__(self, index):
        image = torch.randint(0, 160, (3, 16, 16), generator=torch.Generator().manual_seed(index), dtype=torch.uint8)
        image[:, index % 16, index % 14 : index % 14 + 2 + self.targets[index]] = 255
        return image, self.targets[index]


def dots(*, memory_gb: float = 2.0, workers: int = 1):
    return TrainTest(Dots(128), Dots(40), memory_gb=memory_gb, workers=workers)


def dim(*, most: float = 0.5):
    return lambda image: (image * (1 - most * torch.rand(()))).to(torch.uint8)
"""
STUDY = """
name: own
seed: 2
data: {{{data}, val_fraction: 0.25, augment: [random_resized_crop, flip, {{"mine:dim": {{most: 0.4}}}}]}}
teacher: {{model: resnet8, epochs: 2, batch_size: 16, allow_weak: true}}
student: {{model: resnet8}}
train: {{epochs: 20, batch_size: 16, base_lr: {{log: [0.01, 0.1]}}}}
arms: {{transfers: [attention], policies: [{{layerwise: {{interval: 1, gain: 0.4, probe_size: 16}}}}]}}
search: {{sampler: random, trials_per_arm: 2}}
confirm: {{seeds: 0}}
cache: {{mode: schedule}}
"""
SOURCES = {
    "data set": 'name: "mine:dots", options: {{memory_gb: {memory_gb}, workers: 1}}',
    "hugging face": "name: huggingface, root: ../flies, options: {{size: 16, memory_gb: {memory_gb}, workers: 1}}",
}


def recorded(store: Path) -> list[tuple[Any, ...]]:
    trials = kdstudy_json(store, "show", "latest")["trials"]
    assert {trial["state"] for trial in trials} == {"completed"} and len(trials) == 2
    return [(trial["values"], trial["val"], trial["test"], trial["weights_sha256"]) for trial in trials]


@pytest.mark.parametrize("source", [pytest.param("data set", marks=pytest.mark.long), "hugging face"])
def test_a_study_that_is_killed_goes_on_as_one_that_was_not(source: str, tmp_path: Path) -> None:
    """One is kept in memory, the other decoded by workers; and a pack is what its trials are alone."""
    environment = {"HF_HOME": str(tmp_path / "cache")}
    allow = ("--allow-plugin", str(tmp_path / "mine.py"))
    (tmp_path / "mine.py").write_text(MODULE)
    make_hub_folder(tmp_path / "flies", "parquet", side=20, counts={"train": 128, "test": 40})
    calm, hit = tmp_path / "calm" / "store", tmp_path / "hit" / "store"
    for store, memory, pack in ((calm, 2.0, 1), (hit, 0.0, 2)):
        store.parent.mkdir()
        text = STUDY.format(data=SOURCES[source].format(memory_gb=memory))
        (store.parent / "study.yaml").write_text(f"{text}resources: {{pack: {'off' if pack == 1 else pack}}}\n")
    kdstudy(calm, "run", "study.yaml", *allow, **environment)
    killed(hit, hit.parent / "study.yaml", "  trial", lambda: None, *allow, **environment)
    (line,) = kdstudy_json(hit, "list")
    assert line["status"] == "interrupted"
    before = [trial["epochs"] for trial in kdstudy_json(hit, "show", "latest")["trials"]]
    assert any(0 < epochs < 20 for epochs in before), "it was killed in the middle of a trial"
    kdstudy(hit, "resume", "latest", *allow, **environment)
    assert recorded(hit) == recorded(calm)
    again = kdstudy_json(calm, "reproduce", "latest", *allow, **environment)
    assert again["verdict"] == "identical"
