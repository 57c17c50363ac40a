"""Several ranks train the trial of one: equal numbers, one report, one checkpoint; a lost one is noticed at once."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kdstudy.errors import DataError, MapError, ModelError
from kdstudy.models import FeatureExtractor
from kdstudy.plugins import allow_plugins
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.study import PluginSpec, TrialConfig
from kdstudy.training import RankLostError
from kdstudy.transfer import Observation
from kdstudy.transfer.attention import AttentionTransfer
from kdstudy.trial.rank_processes import LocalRanks
from kdstudy.trial.run import run_trial
from tests.configs import fresh_teacher, trial_config

LAYERWISE = "{layerwise: {interval: 1, gain: 0.4, momentum: 0.5, probe_size: 64}}"


def of(config: TrialConfig, ranks: int = 2, **train: Any) -> TrialConfig:
    return replace(config, resources=replace(config.resources, ranks=ranks), train=replace(config.train, **train))


def run(config: TrialConfig, folder: Path | None = None, **options: Any) -> tuple[TrialResult, list[EpochRecord]]:
    records: list[EpochRecord] = []
    result = run_trial(
        config, lambda record, _: records.append(record), teacher=fresh_teacher(), folder=folder, **options
    )
    return result, records


class LosingError(Exception):
    pass


class KillingHost:
    """Ranks of this machine, of which one is killed after an epoch."""

    interface = LocalRanks.interface

    def __init__(self) -> None:
        self.ranks = LocalRanks()

    def start(self, job):
        return self.ranks.start(job)

    def lost(self):
        return self.ranks.lost()

    def stop(self) -> None:
        self.ranks.stop()

    def kill(self) -> None:
        os.kill(self.ranks._processes[0].pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_rank_is_noticed_at_once_and_the_trial_continues_bit_for_bit(tmp_path: Path) -> None:
    config = of(trial_config("attention", LAYERWISE, epochs=3))
    alone, records_alone = run(replace(config, resources=replace(config.resources, ranks=1)), with_test=True)
    whole, records = run(config, tmp_path / "whole", with_test=True)
    assert whole.val == pytest.approx(alone.val, abs=1e-5)
    assert whole.test == pytest.approx(alone.test, abs=1e-5)
    assert whole.numerics["ranks"] == 2
    for own, other in zip(records, records_alone, strict=True):
        assert own.val_loss == pytest.approx(other.val_loss, rel=1e-5)
        assert own.loss == pytest.approx(other.loss, rel=1e-5)
        for mine, theirs in zip(own.layers, other.layers, strict=True):
            assert mine.multiplier == pytest.approx(theirs.multiplier, rel=1e-5)

    host, seen, killed = KillingHost(), [], 0.0

    def report(record: EpochRecord, result: TrialResult | None) -> None:
        nonlocal killed
        seen.append(record)
        if record.epoch == 2:
            killed = time.monotonic()
            host.kill()

    with pytest.raises(RankLostError, match=r"rank 1 of the trial was lost \(exit status -9\)"):
        run_trial(config, report, teacher=fresh_teacher(), folder=tmp_path / "cut", rank_host=host, with_test=True)
    assert time.monotonic() - killed < 20
    resumed, again = run(config, tmp_path / "cut", with_test=True)
    assert resumed.weights_sha256 == whole.weights_sha256
    assert [record.numbers() for record in again] == [record.numbers() for record in records]


@pytest.mark.slow
def test_another_number_of_ranks_continues_within_tolerance_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = trial_config("kd", epochs=2)
    expected, _ = run(config)

    def cut(_record: EpochRecord, _result: TrialResult | None) -> None:
        raise LosingError

    with pytest.raises(LosingError):
        run_trial(of(config), cut, teacher=fresh_teacher(), folder=tmp_path)
    result, _ = run(config, tmp_path)
    assert "begun by 2 rank(s), continued by 1: equal to rounding" in caplog.text
    assert result.val == pytest.approx(expected.val, abs=1e-5)


LIST = (PluginSpec("random_resized_crop"), PluginSpec("flip"), PluginSpec("rand_augment", {"magnitude": 5}))
SETTINGS: dict[str, dict[str, Any]] = {
    "teacher's outputs kept by step": {"cache": {"mode": "schedule"}},
    "teacher's outputs kept by view": {"cache": {"mode": "all_views"}},
    "images in two views": {"cache": {"mode": "views", "views": 2}},
    "named augmentations": {"data": {"augment": LIST}},
    "none, the last batch smaller": {"data": {"augment": False}, "train": {"batch_size": 40}},
    "folded teacher": {"numerics": {"teacher": "folded"}},
    "channels last, one kernel": {"numerics": {"memory_format": "channels_last", "optimizer": "fused"}},
    "student of low precision": {"numerics": {"student": "bfloat16"}},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", SETTINGS)
def test_two_ranks_give_what_one_process_gives_under_every_setting(case: str, tmp_path: Path) -> None:
    config = trial_config("attention", LAYERWISE, epochs=2, base_lr=0.01)
    for section, keys in SETTINGS[case].items():
        config = replace(config, **{section: replace(getattr(config, section), **keys)})
    (alone, expected), (both, found) = (
        run(of(config, ranks), cache=tmp_path / str(ranks), with_test=True) for ranks in (1, 2)
    )
    # Which of the numbers near each other rounding takes is chance in low precision.
    close = 1e-2 if "low precision" in case else 1e-5
    assert both.state == alone.state == "completed"
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.loss == pytest.approx(theirs.loss, rel=close)
        assert mine.val_loss == pytest.approx(theirs.val_loss, rel=close)


@pytest.mark.slow
def test_statistics_of_each_ranks_own_part_are_another_training_and_repeat(tmp_path: Path) -> None:
    config = of(trial_config("attention", LAYERWISE, epochs=2))
    own = replace(config, numerics=replace(config.numerics, sync_batch_norm=False))
    (whole, _), (first, records), (second, again) = run(config), run(own), run(own)
    assert first.state == "completed"
    assert first.weights_sha256 == second.weights_sha256
    assert [record.numbers() for record in records] == [record.numbers() for record in again]
    assert first.weights_sha256 != whole.weights_sha256


class LocalOnly(AttentionTransfer):
    """Observes in a way of its own and does not say whether it splits."""

    def observe(self, network: FeatureExtractor, images: torch.Tensor, draws: Any) -> Observation:
        return super().observe(network, images, draws)


class FailsElsewhere(AttentionTransfer):
    """Raises in the second rank's process alone."""

    def part_of(self, draws: Any, rank: int, ranks: int) -> Any:
        if rank == 1:
            raise ModelError("layers: broken there; mend it")
        return draws


def test_what_another_rank_raises_is_raised_here() -> None:
    allow_plugins("tests")
    config = of(trial_config("'tests.trial.test_ranks:FailsElsewhere'", epochs=1))
    with pytest.raises(ModelError, match=r"layers: broken there; mend it"):
        run(config)


@pytest.mark.parametrize(
    ("config", "kind", "said"),
    [
        (of(trial_config("kd"), 3), DataError, "a batch of 32 images does not split over 3 ranks"),
        (of(trial_config("{jacobian: {fraction: 0.1}}"), 4), DataError, None),
    ],
)
def test_a_batch_that_does_not_split_is_refused(config: TrialConfig, kind: type[Exception], said: str | None) -> None:
    from kdstudy.trial.dry_run import preflight

    with pytest.raises(kind if said else MapError, match=said or "fraction: 0.1.*do not split over 4 ranks"):
        preflight(of(config, config.resources.ranks, batch_size=32 if said else 48), fresh_teacher())


def test_a_method_that_does_not_say_that_it_splits_is_refused() -> None:
    from kdstudy.trial.dry_run import preflight

    allow_plugins("tests")
    with pytest.raises(MapError, match=r"does not say that ranks may each observe a part"):
        preflight(of(trial_config("'tests.trial.test_ranks:LocalOnly'")), fresh_teacher())
