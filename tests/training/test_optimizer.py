"""SGD computed in other ways is SGD, layer by layer too; the record says which way it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kdstudy.study import NumericsConfig, PluginSpec, TrialConfig
from kdstudy.trial import run_trial
from kdstudy.trial.inputs import OwnInputs
from kdstudy.trial.run import TrialRun
from tests.configs import fresh_teacher, trial_config

KERNELS = ("loop", "foreach", "fused")


def config(kernels: str, *, transfer: str = "fitnet", **train: Any) -> TrialConfig:
    """Six steps, every layer and the adaptors at a rate of their own."""
    made = trial_config(transfer, "decay", epochs=2)
    made = replace(made, data=replace(made.data, options={"count": 64}))
    return replace(made, train=replace(made.train, batch_size=16, **train), numerics=NumericsConfig(optimizer=kernels))


def weights(trial: TrialConfig) -> dict[str, Tensor]:
    run = TrialRun(trial, OwnInputs(), teacher=fresh_teacher())
    try:
        for _ in range(2):
            run.begin_epoch()
            while run.step():
                pass
            run.end_epoch()
        assert len(set(run.history[-1].rates.values())) > 2, "the layers learn at different rates"
        return {**run.student.module.state_dict(), **run.distiller.transfer.state_dict(prefix="own.")}
    finally:
        run.close()


@pytest.mark.parametrize("kernels", KERNELS[1:])
@pytest.mark.parametrize(
    "train",
    [
        {},
        {"nesterov": True},
        {"momentum": 0.0},
        {"weight_decay": 0.0, "momentum": 0.5},
        {"optimizer": PluginSpec("adamw"), "base_lr": 1e-3, "clip_norm": 1.0},
    ],
    ids=str,
)
def test_other_kernels_compute_the_same(kernels: str, train: dict[str, Any]) -> None:
    plain, other = weights(config("loop", **train)), weights(config(kernels, **train))
    for name, tensor in plain.items():
        assert torch.allclose(tensor, other[name], rtol=1e-4, atol=1e-6), name


def test_channels_last_weights_and_their_gradients_are_told_apart() -> None:
    turned = {"memory_format": "channels_last"}
    one, other = (
        weights(replace(config("loop"), numerics=NumericsConfig(optimizer=kernels, **turned)))  # type: ignore[arg-type]
        for kernels in ("loop", "fused")
    )
    assert all(torch.allclose(tensor, other[name], rtol=1e-4, atol=1e-6) for name, tensor in one.items())


def test_the_default_is_the_loop_bit_for_bit_and_every_record_says_what_it_was() -> None:
    found = {
        kernels: run_trial(config(kernels, transfer="kd"), lambda *_: None, teacher=fresh_teacher())
        for kernels in ("auto", *KERNELS)
    }
    assert [result.numerics["optimizer"] for result in found.values()] == ["loop", *KERNELS]
    assert found["auto"].weights_sha256 == found["loop"].weights_sha256


def test_a_checkpoint_of_another_machine_does_not_bring_its_kernels(tmp_path: Path) -> None:
    """As one of a GPU, where `auto` is `foreach`, that is gone on with on a CPU."""

    class GoneError(Exception):
        pass

    def leave(*_: object) -> None:
        raise GoneError

    with pytest.raises(GoneError):
        run_trial(config("foreach", transfer="kd"), leave, teacher=fresh_teacher(), folder=tmp_path)
    run = TrialRun(config("auto", transfer="kd"), OwnInputs(), teacher=fresh_teacher(), folder=tmp_path)
    assert [record.epoch for record in run.restore()] == [1]
    assert {(group["foreach"], group["fused"]) for group in run.distiller.optimizer.param_groups} == {(False, False)}
    assert any(state["momentum_buffer"] is not None for state in run.distiller.optimizer.state.values())
    run.close()
