"""Modules that are not installed: allowed by their place, or by name beside the study file; nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdstudy.cluster.connection import _plugin_environment
from kdstudy.cluster.submit import _allowed_there
from kdstudy.errors import PluginError, StudyError
from kdstudy.plugins import MODELS, allow_beside, allow_plugins, allowed_plugins, allowed_words, allowing, tell_places
from kdstudy.plugins.places import _places
from kdstudy.settings import ALLOW_PLUGINS

MODULE = "def net(num_classes, in_channels):\n    return {value!r}\n"


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = set(sys.modules)
    monkeypatch.setattr("kdstudy.plugins.trust._told", {})
    _places.clear()
    yield
    _places.clear()
    for name in set(sys.modules) - before:
        if name.startswith("mynet"):
            del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study file with modules beside it."""
    folder = tmp_path / "my study, first"
    (folder / "mynet_package").mkdir(parents=True)
    (folder / "study.yaml").touch()
    (folder / "mynet.py").write_text(MODULE.format(value="beside"))
    (folder / "mynet_package" / "__init__.py").touch()
    (folder / "mynet_package" / "deep.py").write_text(MODULE.format(value="deep"))
    (folder / "colorsys.py").write_text("raise SystemExit('the stranger beside the study file ran')\n")
    (folder / "mynet_needs.py").write_text("import mynet_helper\n")
    (folder / "mynet_helper.py").touch()
    return folder


def test_a_module_beside_the_study_file_is_found_once_it_is_allowed(folder: Path) -> None:
    allow_beside(folder / "study.yaml")
    with pytest.raises(PluginError, match="'mynet:net' is code outside kdstudy"):
        MODELS.load("mynet:net")
    allow_plugins("mynet", "mynet_package")
    with pytest.raises(
        PluginError, match=r"'mynet:net' cannot be loaded \(No module named 'mynet'\); install it, or na"
    ):
        MODELS.load("mynet:net")
    allow_beside(folder / "study.yaml")
    assert MODELS.load("mynet:net")(1, 1) == "beside"
    assert MODELS.load("mynet_package.deep:net")(1, 1) == "deep"
    assert str(folder) not in sys.path


@pytest.mark.parametrize("word", ["mynet.py", "./mynet.py", "mynet_package", "../my study, first/mynet_package/"])
def test_a_module_is_allowed_by_its_place(folder: Path, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    allow_plugins(word if "/" in word or word.endswith(".py") else f"./{word}")
    name = "mynet_package.deep:net" if "package" in word else "mynet:net"
    assert ".." not in "".join(allowed_words()), "as it is told to other processes, and printed"
    assert MODELS.load(name)(1, 1) in ("deep", "beside")
    other = "mynet:net" if "package" in word else "mynet_package.deep:net"
    with pytest.raises(PluginError, match="is code outside kdstudy"):
        MODELS.load(other)


def test_what_python_finds_is_not_shadowed_from_beside_the_study_file(folder: Path) -> None:
    """The user trusts the module that is installed; a stranger's study may come with another of that name."""
    allow_plugins("colorsys", "mynet_needs")
    allow_beside(folder / "study.yaml")
    assert MODELS.load("colorsys:rgb_to_hsv")(0, 0, 0) == (0.0, 0.0, 0)
    with pytest.raises(PluginError, match=r"'mynet_needs:net' cannot be loaded \(No module named 'mynet_helper'\)"):
        MODELS.load("mynet_needs:net")


def test_a_record_tells_where_a_module_was_and_nothing_is_taken_from_there(folder: Path) -> None:
    tell_places({"mynet": str(folder / "mynet.py")})
    flag = f"--allow-plugin '{folder}/mynet.py'"
    with pytest.raises(PluginError, match=rf"if you trust the package, add {flag} or set"):
        MODELS.load("mynet:net")
    allow_plugins("mynet")
    with pytest.raises(PluginError, match=rf"cannot be loaded \(No module named 'mynet'\); .* name its file: {flag}"):
        MODELS.load("mynet:net")
    allow_plugins(str(folder / "mynet.py"))
    assert MODELS.load("mynet:net")(1, 1) == "beside"


def test_other_processes_are_told_the_place(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOW_PLUGINS, "tests")
    allow_plugins("mynet", "json")
    allow_beside(folder / "study.yaml")
    assert allowed_words() == ("tests", str(folder / "mynet.py"), "json")
    script = "from kdstudy.plugins import MODELS; print(MODELS.load('mynet:net')(1, 1))"
    environment = {**os.environ, **_plugin_environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "beside\n", done.stderr


def test_a_place_that_is_not_there_is_told_at_once_but_not_to_nodes_that_lack_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        PluginError, match=r"--allow-plugin: there is no module at .*/no.py, got '\S*no.py'; name its f"
    ):
        allow_plugins(str(tmp_path / "no.py"))
    monkeypatch.setenv(ALLOW_PLUGINS, f"'{tmp_path}/mynet.py'")
    assert allowed_plugins() == {"mynet": tmp_path / "mynet.py"}
    with pytest.raises(PluginError, match=r"'mynet:net' cannot be loaded \(No module named 'mynet'\)"):
        MODELS.load("mynet:net")


def test_what_is_sent_to_a_cluster_is_allowed_there_by_its_place_in_it(folder: Path) -> None:
    study = folder / "study.yaml"
    allow_plugins("json", str(folder / "mynet.py"))
    assert list(_allowed_there(study, folder)) == ["tests", "json", "./mynet.py"]
    with pytest.raises(
        StudyError, match=rf"the cluster does not have {folder}/mynet.py; send it along: --with '{folder}'"
    ):
        list(_allowed_there(study, folder / "elsewhere"))
    assert list(_allowed_there(study, None)) == ["tests", "json", "./mynet.py"], "sent by itself"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("raise RuntimeError('no\\n  GPU')", r"\(RuntimeError: no GPU\); mend its module \(--debug shows where it was"),
        ("x = (", r"\(SyntaxError: '\(' was never closed .*\); mend its module"),
        ("import sys; sys.exit(3)", r"\(SystemExit: 3\); mend its module"),
        ("import no_such_library", r"\(No module named 'no_such_library'\); install it, or"),
        ("net_ = 3", r"\(module 'mynet_bad' has no attribute 'net'\); write package.module:Name of something"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "mynet_bad.py").write_text(text)
    allow_plugins(str(tmp_path / "mynet_bad.py"))
    with pytest.raises(PluginError, match=rf"model: 'mynet_bad:net' cannot be loaded {told}") as caught:
        MODELS.load("mynet_bad:net")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None, "what --debug shows"


def test_a_command_is_told_the_packages_of_a_studys_own_plugins_once() -> None:
    assert allowing(["resnet8", "attention"]) == ""
    assert allowing(["resnet8", "mine.nets:Net", "other:Rule", "mine.kd:Method"]) == (
        " --allow-plugin mine --allow-plugin other"
    )


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tests.plugins.test_places:Netz", "did you mean 'tests.plugins.test_places:Nets'?"),
        ("tests.plugins.test_places:nets", "did you mean 'tests.plugins.test_places:Nets'?"),
        ("tests.plugins.test_places:Qqq", "write package.module:Name of something importable here"),
    ],
)
def test_a_class_that_a_module_has_not_is_told_with_the_nearest(name: str, told: str) -> None:
    with pytest.raises(PluginError, match=r"has no attribute") as caught:
        MODELS.load(name)
    assert str(caught.value).endswith(told)


class Nets:
    """Has a name that is easily mistyped."""
