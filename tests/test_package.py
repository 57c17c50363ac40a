"""What is installed: source distribution and wheel, built from a copy of the checkout, offline."""

from __future__ import annotations

import email
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from kdstudy import __version__

ROOT = Path(__file__).parents[1]
STUDIES = sorted(path.name for path in (ROOT / "studies").iterdir() if path.suffix in (".yaml", ".py"))
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
# Measured: 0.72 MB and 0.57 MB. What makes them much larger does not belong there.
MAX_BYTES = 1_000_000


def built(kind: str, source: Path, folder: Path) -> Path:
    """Have the build backend make one file, and return it."""
    before = set(folder.iterdir())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILD, f"build_{kind}", str(folder)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (made,) = set(folder.iterdir()) - before
    return made


@dataclass(frozen=True)
class Built:
    """The files, and the sources that they were made from."""

    checkout: Path
    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A source distribution of a clone, as `git clone` and `git archive` leave it: links are links; a wheel of that."""
    folder = tmp_path_factory.mktemp("package")
    checkout, dist = folder / "checkout", folder / "dist"
    dist.mkdir()
    for name in ("kdstudy", "studies"):
        shutil.copytree(ROOT / name, checkout / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("docs/package.md", "tests/test_package.py"):
        (checkout / name).parent.mkdir()
        shutil.copy(ROOT / name, checkout / name)
    for path in ROOT.glob("[A-Za-z]*.*"):
        if path.is_file():
            shutil.copy(path, checkout)
    shutil.copy(ROOT / "LICENSE", checkout)
    sdist = built("sdist", checkout, dist)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return Built(checkout, sdist, built("wheel", unpacked, dist))


@pytest.mark.slow
def test_the_wheel_holds_the_package_with_its_studies_and_nothing_else(distribution: Built) -> None:
    names = set(zipfile.ZipFile(distribution.wheel).namelist())
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "kdstudy").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    } | {f"kdstudy/cli/studies/{name}" for name in STUDIES}
    assert {name for name in names if ".dist-info/" not in name} == wanted
    assert distribution.wheel.name == f"kdstudy-{__version__}-py3-none-any.whl", "no compiler is needed"
    assert distribution.wheel.stat().st_size < MAX_BYTES


@pytest.mark.slow
def test_the_source_distribution_builds_and_holds_no_tests(distribution: Built) -> None:
    with tarfile.open(distribution.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        assert not [member for member in archive if member.issym() or member.islnk()], "Windows makes no links"
    assert {"pyproject.toml", "LICENSE", "CHANGELOG.md", "docs/package.md"} <= names
    assert {f"kdstudy/cli/studies/{name}" for name in STUDIES} <= names
    assert not [name for name in names if name.startswith(("tests", "studies", "data"))]
    assert distribution.sdist.stat().st_size < MAX_BYTES


@pytest.mark.slow
def test_what_an_index_shows_has_this_version_and_no_link_that_leads_nowhere(distribution: Built) -> None:
    archive = zipfile.ZipFile(distribution.wheel)
    metadata = email.message_from_bytes(archive.read(f"kdstudy-{__version__}.dist-info/METADATA"))
    assert metadata["Version"] == __version__
    assert metadata["Description-Content-Type"] == "text/markdown"
    page = str(metadata.get_payload())
    targets = re.findall(r"\]\(([^)\s]+)", page)
    assert targets and all(target.startswith("https://") for target in targets), targets
    assert "<img" not in page and "![" not in page


@pytest.mark.slow
def test_an_installed_package_writes_its_studies(distribution: Built, tmp_path: Path) -> None:
    site = tmp_path / "site packages"  # a blank in the path, as on many machines
    zipfile.ZipFile(distribution.wheel).extractall(site)
    work = tmp_path / "work"
    work.mkdir()
    command = [
        sys.executable,
        "-c",
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from kdstudy.cli import main; main()",
    ]
    done = subprocess.run([*command, str(site), "init", "smoke"], cwd=work, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first = (work / "smoke.yaml").read_text(encoding="utf-8").partition("\n")[0]
    schema = site / "kdstudy" / "study" / "study.schema.json"
    assert first == f"# yaml-language-server: $schema={schema.as_uri()}"
    assert schema.is_file() and " " not in schema.as_uri()


@pytest.mark.slow
def test_an_editable_install_reads_the_studies_of_the_checkout(distribution: Built, tmp_path: Path) -> None:
    archive = zipfile.ZipFile(built("editable", distribution.checkout, tmp_path))
    (finder,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("_finder.py"))
    assert f"'kdstudy': '{distribution.checkout}/kdstudy'" in finder, "the whole package is the checkout's"
    assert sorted(each.name for each in (distribution.checkout / "kdstudy/cli/studies").glob("*.[yp]*")) == STUDIES


def test_images_for_containers_get_the_studies_before_the_package_is_installed() -> None:
    lines = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    installs = [number for number, line in enumerate(lines) if line == "COPY kdstudy kdstudy"]
    assert len(installs) == 2
    assert [lines[number - 1] for number in installs] == ["COPY studies studies"] * 2
