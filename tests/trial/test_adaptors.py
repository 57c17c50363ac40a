"""A transfer method's own weights: a function of the trial's seed, trained, and no part of the student."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from kdstudy.models import load_student
from kdstudy.plugins import TRANSFERS
from kdstudy.results import EpochRecord
from kdstudy.transfer import TransferContext
from kdstudy.trial.build import build_transfer, dataset_of, networks
from kdstudy.trial.run import run_trial
from tests.configs import fresh_teacher, trial_config


def context() -> TransferContext:
    config = trial_config()
    return networks(config, dataset_of(config, with_test=False), fresh_teacher(), torch.device("cpu"))[2]


def built(name: str, seed: int) -> dict[str, Tensor]:
    return build_transfer(name, {}, context(), seed=seed).state_dict()


@pytest.mark.parametrize("name", ["crd", "fitnet", "reviewkd", "vid"])
def test_its_weights_depend_on_the_seed_and_on_nothing_around(name: str) -> None:
    torch.manual_seed(1)
    around = torch.get_rng_state()
    first = built(name, 5)
    assert torch.equal(torch.get_rng_state(), around), "no other random stream moves"
    torch.manual_seed(2)
    again, other = built(name, 5), built(name, 6)
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    # Layers of one width need no adaptor of FitNet's.
    assert any(not torch.equal(value, other[key]) for key, value in first.items()) == (name != "fitnet")


def test_they_train_at_the_base_rate_and_stay_out_of_the_student(tmp_path: Path) -> None:
    records: list[EpochRecord] = []
    policy = "{layerwise: {interval: 1, gain: 0.4, momentum: 0.5, probe_size: 64}}"
    config = trial_config("vid", policy, epochs=2)
    run_trial(config, lambda record, _: records.append(record), teacher=fresh_teacher(), folder=tmp_path)
    assert {layer.multiplier for layer in records[0].layers} != {1.0}
    assert records[1].rates["transfer"] == records[1].rate
    plain = trial_config("none", "constant", epochs=2)
    run_trial(plain, lambda record, _: None, teacher=fresh_teacher(), folder=tmp_path / "plain")
    keys = set(load_student(tmp_path / "student").state_dict())
    assert keys == set(load_student(tmp_path / "plain" / "student").state_dict())


def test_every_method_is_registered_under_its_own_name() -> None:
    for name in TRANSFERS:
        assert getattr(TRANSFERS.load(name), "name", name) == name
