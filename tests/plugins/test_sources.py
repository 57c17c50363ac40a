"""The code of a study's own plug-ins is known again, file by file."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kdstudy.analysis.reproduce import code_differences
from kdstudy.errors import RecordError
from kdstudy.ledger import environment_differences
from kdstudy.plugins import allowing, source_changes, source_hashes
from kdstudy.runner.mended import require_same_code
from kdstudy.runner.open_study import new_record
from kdstudy.study import parse_study
from tests.confirmed import study_of

MODEL = "import torch\n\n\ndef net(num_classes, in_channels):\n    return torch.nn.Identity()\n"


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module and a package of the user's own, imported."""
    (tmp_path / "srcnet.py").write_text(MODEL)
    (tmp_path / "srcpack" / "deep").mkdir(parents=True)
    for name in ("__init__.py", "blocks.py", "deep/more.py"):
        (tmp_path / "srcpack" / name).write_text(f"# {name}\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("srcnet", "srcpack"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        __import__(name)
        monkeypatch.setitem(sys.modules, name, sys.modules[name])
    return tmp_path


def test_every_file_of_a_users_module_has_its_hash(modules: Path) -> None:
    found = source_hashes(["resnet8", "srcnet:net", "srcpack.blocks:Block"])
    assert list(found) == ["srcnet.py", "srcpack/__init__.py", "srcpack/blocks.py", "srcpack/deep/more.py"]
    assert found["srcnet.py"] == hashlib.sha256(MODEL.encode()).hexdigest()
    assert not any(str(modules) in key for key in found), "a record names no folder of its user's"


def test_what_is_installed_registered_or_not_imported_has_none() -> None:
    names = ["resnet8", "torch.nn:Identity", "kdstudy.transfer.kd:KdTransfer", "never_imported:Net", "json:loads"]
    assert source_hashes(names) == {}


def test_what_has_changed_is_told_file_by_file_and_nothing_of_older_records(
    modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDSTUDY_ALLOW_PLUGINS", "srcnet")
    text = study_of({"kd/constant": []}, "seeds: 1").text
    study = parse_study(text.replace("student: {model: resnet8}", 'student: {model: "srcnet:net"}'), "study.yaml")
    began = new_record(study)
    before = began.environment["plugin_sources"]
    assert list(before) == ["srcnet.py"]
    assert code_differences(began) == []
    assert code_differences(replace(began, environment={})) == []
    (modules / "srcnet.py").write_text(MODEL + "# mended\n")
    ((field, recorded, here),) = (each.values() for each in code_differences(began))
    assert (field, recorded) == ("plugin_sources.srcnet.py", before["srcnet.py"])
    assert here not in (None, recorded)
    names = [name for _, name in study.plugins()]
    with pytest.raises(
        RecordError, match=r"code of its plug-ins was changed since it began \(srcnet.py\), and its trials"
    ):
        require_same_code(began, names)
    require_same_code(replace(began, environment={}), names)
    (modules / "srcnet.py").write_text(MODEL)
    require_same_code(began, names)
    assert environment_differences(began.environment, {**began.environment, "plugin_sources": {}}) == [], "told above"


def test_a_command_names_the_file_of_a_module_that_python_does_not_find() -> None:
    names = ["resnet8", "mynet:Net", "mynet:Other", "installed.deep:Thing"]
    places = {"mynet": "/home/me/my nets/mynet.py"}
    assert allowing(names, places) == " --allow-plugin '/home/me/my nets/mynet.py' --allow-plugin installed"
    assert allowing(names) == " --allow-plugin mynet --allow-plugin installed"
    assert allowing(["resnet8"], places) == ""


def test_files_of_a_package_that_were_not_imported_do_not_keep_a_study_from_going_on(modules: Path) -> None:
    names = ["srcpack:Net"]
    before = source_hashes(names)
    (modules / "srcpack" / "blocks.py").write_text("# another script of the user's\n")
    assert list(source_changes(before, names)) == ["srcpack/blocks.py"]
    assert source_changes(before, names, imported_only=True) == {}
    (modules / "srcpack" / "__init__.py").write_text("# the code that runs\n")
    assert list(source_changes(before, names, imported_only=True)) == ["srcpack/__init__.py"]
