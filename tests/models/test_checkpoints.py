"""Checkpoints as people have them: their containers, their names, and what is said of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kdstudy.errors import ModelError
from kdstudy.models import build_model, fit_weights, read_weights
from kdstudy.training import weights_sha256

SHAPE = (1, 8, 8)


def network(classes: int = 10, seed: int = 0) -> nn.Module:
    return build_model("resnet8", {}, num_classes=classes, image_shape=SHAPE, mean=(0.5,), std=(0.5,), seed=seed)


TRAINED = network(seed=1)
BARE = {name: value for name, value in TRAINED.state_dict().items() if not name.startswith("normalise.")}


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in BARE.items()}


def load(tmp_path: Path, content: Any, key_map: dict[str, str] | None = None, module: nn.Module | None = None) -> str:
    """Load a file of this content into a fresh network and return what was said; its weights must be those trained."""
    path = tmp_path / "teacher.pt"
    torch.save(content, path)
    module = network() if module is None else module
    said = fit_weights(module, read_weights(path), key_map or {}, where="teacher.pt", num_classes=10)
    assert "\n" not in said
    if module.state_dict().keys() == TRAINED.state_dict().keys():
        assert weights_sha256(module) == weights_sha256(TRAINED)
    return said


def test_what_is_taken_as_it_is_needs_no_words(tmp_path: Path) -> None:
    assert load(tmp_path, BARE) == ""
    assert load(tmp_path, TRAINED.state_dict()) == ""
    path = tmp_path / "teacher.safetensors"
    save_file(BARE, path)
    assert fit_weights(network(), read_weights(path), {}, where="", num_classes=10) == ""


@pytest.mark.parametrize(
    ("content", "container"),
    [
        ({"state_dict": BARE, "epoch": 3, "optimizer": {"state": {0: {"momentum": torch.ones(2)}}}}, "state_dict"),
        ({"model_state_dict": BARE, "loss": 0.1}, "model_state_dict"),
        ({"net": BARE, "acc": 93.1}, "net"),
        ({"ema": BARE, "step": torch.tensor(3)}, "ema"),
        ({"ema": prefixed("module."), "state_dict": BARE}, "state_dict"),
        ({"generator_weights": BARE, "epoch": 3, "history": [1, 2]}, "generator_weights"),
        ({"model": {"state_dict": BARE, "config": {"depth": 8}}}, "model.state_dict"),
    ],
)
def test_usual_containers_are_opened(tmp_path: Path, content: Any, container: str) -> None:
    assert load(tmp_path, content) == f"teacher.path: teacher.pt: took '{container}'"


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.module._orig_mod."]
)
def test_prefixes_of_wrappers_go_by_themselves_in_any_order(tmp_path: Path, prefix: str) -> None:
    said = load(tmp_path, {"state_dict": prefixed(prefix)})
    assert said == f"teacher.path: teacher.pt: took 'state_dict', removed the prefix '{prefix}' of every name"


@pytest.mark.parametrize(
    ("prefix", "key_map"),
    [
        ("backbone.", {"backbone.": ""}),
        ("backbone.", {"backbone": ""}),
        ("_orig_mod.", {"_orig_mod": ""}),
        ("module.backbone.", {"backbone": ""}),
        ("module.backbone.", {"module.backbone": ""}),
        ("backbone.module.", {"backbone.": ""}),
        ("encoder.trunk.", {"encoder.trunk.": ""}),
    ],
)
def test_a_key_map_strips_prefixes(tmp_path: Path, prefix: str, key_map: dict[str, str]) -> None:
    load(tmp_path, prefixed(prefix), key_map)


@pytest.mark.parametrize("key_map", [{"": "net."}, {"": "net"}, {"fc": "net.fc", "": "net."}])
def test_a_key_map_puts_a_prefix_before_every_name(tmp_path: Path, key_map: dict[str, str]) -> None:
    outer = nn.Module()
    outer.net = network()
    state = {name: value for name, value in BARE.items() if not name.startswith("normalise.")}
    path = tmp_path / "teacher.pt"
    torch.save({**state, "normalise.mean": torch.zeros(1, 1, 1), "normalise.std": torch.ones(1, 1, 1)}, path)
    fit_weights(outer, read_weights(path), key_map, where="", num_classes=10)
    assert torch.equal(outer.net.get_parameter("fc.weight"), BARE["fc.weight"])


def test_a_key_map_renames_whole_parts_of_names_only(tmp_path: Path) -> None:
    stems = {name.replace("conv1.", "stem.", 1) if name.startswith("conv1.") else name: v for name, v in BARE.items()}
    load(tmp_path, stems, {"stem": "conv1"})
    with pytest.raises(ModelError, match=r"missing \['conv1.weight'\], not in it \['stem.weight'\]"):
        load(tmp_path, stems, {"ste": "conv"})


def test_two_tensors_do_not_become_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"key_map: makes 'fc.weight' of more than one tensor of teacher.pt"):
        load(tmp_path, {**BARE, "spare.weight": BARE["fc.weight"]}, {"spare": "fc"})


def test_a_network_whose_own_parts_are_called_as_wrappers_are_keeps_its_names(tmp_path: Path) -> None:
    outer = nn.Module()
    outer.model = nn.Linear(3, 10)
    path = tmp_path / "teacher.pt"
    for prefix in ("", "module."):
        torch.save({f"{prefix}{name}": torch.ones_like(value) for name, value in outer.state_dict().items()}, path)
        fit_weights(outer, read_weights(path), {}, where="", num_classes=10)
        assert torch.equal(outer.model.weight, torch.ones(10, 3))


def test_what_thop_counted_is_left_out(tmp_path: Path) -> None:
    counted = {"total_ops": torch.zeros(1), "layer1.total_params": torch.zeros(1)}
    assert load(tmp_path, {**BARE, **counted}) == "teacher.path: teacher.pt: left out 2 counters of thop's"
    load(tmp_path, {f"module.{name}": value for name, value in {**BARE, **counted}.items()})


def test_a_head_for_other_classes_is_told_as_such(tmp_path: Path) -> None:
    """Also where it stands in a container and under a wrapper."""
    big = network(classes=1000)
    for content in (big.state_dict(), {"model": {f"module.{key}": each for key, each in big.state_dict().items()}}):
        with pytest.raises(ModelError, match="1000 classes apart, the data have 10;") as caught:
            load(tmp_path, content)
        assert "\n" not in str(caught.value)


def test_another_width_is_not_taken_for_other_classes(tmp_path: Path) -> None:
    wide = build_model("wrn_16_2", {}, num_classes=10, image_shape=SHAPE, mean=(0.5,), std=(0.5,), seed=0)
    narrow = build_model("wrn_16_1", {}, num_classes=10, image_shape=SHAPE, mean=(0.5,), std=(0.5,), seed=0)
    with pytest.raises(ModelError, match=r"does not fit the network: missing .* other shape"):
        load(tmp_path, wide.state_dict(), module=narrow)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": BARE, "args": argparse.Namespace(lr=0.1)}, r"more than tensors \(argparse.Namespace\)"),
        ({"net": BARE, "acc": np.float64(93.1)}, r"more than tensors \(numpy\._?core\.multiarray\.scalar\)"),
        ({"state_dict": BARE, "path": Path("x")}, r"more than tensors \(pathlib\."),
        ({"epoch": 3, "history": [1.0]}, r"it is a dict of epoch \(int\), history \(list\);"),
        ({"first": BARE, "second": BARE}, r"it is a dict of first \(dict\), second \(dict\);"),
        ([1, 2], "it is a list;"),
        ({}, "it is an empty dict;"),
    ],
)
def test_what_cannot_be_taken_says_what_is_in_the_file(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load(tmp_path, content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "way"),
    [
        (network(), "weights_only=False).state_dict(), 'weights.pt')"),
        ({"state_dict": BARE, "by": Path}, "weights_only=False)['state_dict'], 'weights.pt')"),
        ({"model": network(), "epoch": 3}, "weights_only=False)['model'].state_dict(), 'weights.pt')"),
    ],
)
def test_how_to_take_weights_out_fits_what_the_file_holds(tmp_path: Path, content: Any, way: str) -> None:
    torch.save(content, tmp_path / "teacher.pt")
    with pytest.raises(ModelError) as caught:
        read_weights(tmp_path / "teacher.pt")
    assert str(caught.value).endswith(way)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("techer.pt", "did you mean teacher.pt?"),
        ("teacher.pth", "did you mean teacher.pt?"),
        ("wrn_best.pt", "name a safetensors or state-dict file"),
        ("weigths/teacher.pt", "there is no folder "),
    ],
)
def test_a_file_that_is_not_there_is_told_with_those_that_are(tmp_path: Path, asked: str, told: str) -> None:
    (tmp_path / "teacher.pt").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    with pytest.raises(ModelError) as caught:
        read_weights(tmp_path / asked)
    assert told in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.3, 0.5, 0.97, 0.999])
def test_a_file_that_is_cut_off_is_said_to_be_damaged(tmp_path: Path, suffix: str, kept: float) -> None:
    path, tensors = tmp_path / f"cut{suffix}", {"fc.weight": torch.rand(40, 30), "fc.bias": torch.rand(40)}
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ModelError, match=rf"^teacher.path: .*cut{suffix} is neither .* or it is damaged; save it"):
        read_weights(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_no_numbers_are_refused_as_soon_as_they_are_read(
    tmp_path: Path, suffix: str, dtype: torch.dtype
) -> None:
    path, tensors = tmp_path / f"w{suffix}", {"fc.weight": torch.rand(4, 3).to(dtype), "count": torch.tensor(3)}
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    assert set(read_weights(path).tensors) == {"fc.weight", "count"}
    tensors["fc.weight"][1, 2] = float("nan")
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    with pytest.raises(ModelError, match=r"holds no numbers \(NaN\) in 'fc.weight'"):
        read_weights(path)
