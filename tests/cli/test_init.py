"""``init``: the files to begin with, which are those of studies/, valid and where an editor finds their schema."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from PIL import Image

from kdstudy.cli import run
from kdstudy.study import load_study
from tests.shipped import load_shipped, shipped

STUDIES = Path(__file__).parents[2] / "studies"
NAMES = sorted(path.stem for path in STUDIES.glob("*.yaml"))


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KDSTUDY_DATA", raising=False)
    return tmp_path


def test_without_a_name_it_is_the_quickstart(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init"]) == 0
    assert [path.name for path in Path().iterdir()] == ["quickstart.yaml"]
    told = capsys.readouterr().out
    assert told.startswith("quickstart.yaml is written") and "kdstudy run quickstart.yaml" in told
    assert load_study(Path("quickstart.yaml")).name == "digits-quickstart"


@pytest.mark.parametrize("shipped_file", shipped())
def test_what_is_written_is_the_file_of_studies_with_a_schema_that_is_there(
    shipped_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = shipped_file.stem
    assert run(["init", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": f"{name}.yaml"}
    first, _, rest = Path(f"{name}.yaml").read_text(encoding="utf-8").partition("\n")
    assert rest == (STUDIES / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")[2]
    found = re.fullmatch(r"# yaml-language-server: \$schema=(file:///\S+)", first)  # an address ends at a blank
    assert found is not None, first
    schema = json.loads(Path(unquote(urlsplit(found[1]).path)).read_text(encoding="utf-8"))
    assert schema["title"] == "kdstudy study file"
    load_shipped(Path(f"{name}.yaml").absolute())


def test_a_module_that_a_study_names_goes_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "coco-224-resnet18"]) == 0
    assert Path("lite0.py").read_text(encoding="utf-8") == (STUDIES / "lite0.py").read_text(encoding="utf-8")
    assert run(["init", "coco-224-mobilenet"]) == 0, "the same module serves both"
    Path("lite0.py").write_text("mine")
    assert run(["init", "coco-224-mobilenet", "-o", "again.yaml"]) == 1
    assert "init: lite0.py is there already; --force overwrites it, or move it away" in capsys.readouterr().err


def pictures() -> None:
    for split in ("train", "test"):
        for shade, name in enumerate(("dark", "light")):
            for index in range(150 if split == "train" else 3):
                folder = Path("pictures", split, name)
                folder.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (20, 20), (200 * shade, index % 50, 9)).save(folder / f"{index}.png")


@pytest.mark.parametrize(
    ("name", "bring", "told"),
    [
        ("quickstart", lambda: None, "90 trials of up to 10 epochs in all"),
        ("imagefolder", pictures, "data: 2 classes (training and validation images): dark 150, light 150"),
        ("cifar10", lambda: None, "note: the data are not here yet and will be downloaded"),
    ],
)
def test_those_that_are_made_to_begin_with_pass_the_check(
    name: str, bring: Callable[[], None], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bring()
    assert run(["init", name]) == 0
    assert run(["check", f"{name}.yaml"]) == 0
    captured = capsys.readouterr()
    assert told in captured.out + captured.err
    assert f"{name}.yaml: valid" in captured.out


def test_without_its_images_one_line_says_where_they_belong(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "imagefolder"]) == 0
    assert run(["check", "imagefolder.yaml"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: imagefolder.yaml:") and f"no image folder at {Path.cwd()}/pictures" in line


def test_a_file_that_is_there_stays(capsys: pytest.CaptureFixture[str]) -> None:
    Path("smoke.yaml").write_text("mine")
    assert run(["init", "smoke"]) == 1
    assert capsys.readouterr().err == (
        "error: init: smoke.yaml is there already; --force overwrites it, -o FILE writes another\n"
    )
    assert Path("smoke.yaml").read_text() == "mine"
    assert run(["init", "smoke.yaml", "-o", "other.yaml"]) == 0
    assert load_study(Path("other.yaml")).name == "digits-smoke"
    assert run(["init", "smoke", "--force"]) == 0
    assert load_study(Path("smoke.yaml")).name == "digits-smoke"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["quikstart"], "init: no study to begin with is called 'quikstart'; did you mean 'quickstart'?"),
        (["../quickstart"], "init: no study to begin with is called '../quickstart'; did you mean 'quickstart'?"),
        (["smoke", "-o", "no/x.yaml"], "init: no/x.yaml cannot be written (No such file or directory)"),
    ],
)
def test_a_user_who_is_wrong_is_told_in_one_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", *arguments]) == 1
    assert capsys.readouterr().err == f"error: {told}\n"
    assert not [*Path().iterdir()]


def test_the_list_names_each_with_the_first_sentence_of_its_comment(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--list", "--json"]) == 0
    listed = {entry["name"]: entry["summary"] for entry in json.loads(capsys.readouterr().out)}
    assert list(listed)[:3] == ["quickstart", "imagefolder", "cifar10"]
    assert sorted(listed) == NAMES
    assert listed["smoke"] == "The smallest whole study: the tests run it."
    assert listed["question-coco"] == "Does any layer-wise learning rate help on COCO's objects, at equal base rates?"
    assert all(summary[-1] in ".?" for summary in listed.values())
    assert run(["init", "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(NAMES)
    assert not [*Path().iterdir()]
