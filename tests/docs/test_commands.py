"""Every command that a page shows in a block is run as it stands there, or it is said which test runs it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"), key=lambda path: (path.stem != "quickstart", path))]
GPU, CHAOS, SLURM = "tests/benchmarks/test_gpu.py", "tests/hosts/test_chaos.py", "tests/deploy/test_slurm.py"
CLUSTER, OWN, CALIBRATION = "tests/cluster", "tests/api/test_your_own_page.py", "tests/benchmarks/test_calibration.py"
HERE_TOO = "tests/docs/test_commands.py"
ELSEWHERE = {
    "pip install .": "tests/test_package.py",
    "pip install kdstudy": "tests/test_package.py",  # the wheel: nothing is published
    "make quickstart": HERE_TOO,
    "make test": ".ci/run",
    "source .venv/bin/activate": HERE_TOO,
    "pip install torch torchvision": GPU,
    "python -m benchmarks.gpu": GPU,
    "python -m benchmarks.calibration": CALIBRATION,
    "sudo .venv/bin/python -m benchmarks.chaos": CHAOS,
    "sbatch": SLURM,
    "RAY_worker_niceness=0 ray start": CLUSTER,
    "kdstudy run study.yaml --address": CLUSTER,
    "kdstudy submit": CLUSTER,
    "kdstudy check study.yaml --layers --allow-plugin mine": OWN,
    "kdstudy run study.yaml --allow-plugin mine": OWN,
    "kdstudy export --allow-plugin mine.py": OWN,
    "kdstudy ui --open": "tests/tracking/test_ui.py",
    "kdstudy run pictures.yaml": OWN,  # a study of five searches; that this one can run, `check` says here
}
"""How a command begins that is run by another test, and which."""


def lines(page: Path) -> list[str]:
    """Return the commands of a page's blocks of shell."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


COMMANDS = [pytest.param(page, line, id=f"{page.stem}: {line}") for page in PAGES for line in lines(page)]
ONCE = {str(each.values[1]): each for each in reversed(COMMANDS)}  # where it is shown first
HERE = [
    each
    for each in COMMANDS
    if each is ONCE[str(each.values[1])] and not str(each.values[1]).startswith(tuple(ELSEWHERE))
]


def smoke(name: str) -> str:
    """Return the smallest of the studies, shorter still, by another name."""
    study = yaml.safe_load((ROOT / "studies" / "smoke.yaml").read_text(encoding="utf-8"))
    study["train"]["epochs"] = study["teacher"]["epochs"] = 2
    study["teacher"]["allow_weak"] = True
    return yaml.safe_dump(study | {"name": name, "confirm": {"seeds": 1}})


def pictures(folder: Path) -> None:
    """Make images of two classes, and the study of them that docs/quickstart.md shows."""
    page = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    block = re.search(r"^```yaml\n(# pictures\.yaml\n.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert block is not None
    (folder / "pictures.yaml").write_text(block[1])
    pixels = torch.Generator().manual_seed(0)
    for label in ("cat", "dog"):
        (folder / "pictures" / "train" / label).mkdir(parents=True)
        for number in range(100):
            image = torch.randint(0, 256, (48, 64, 3), dtype=torch.uint8, generator=pixels)
            Image.fromarray(image.numpy()).save(folder / "pictures" / "train" / label / f"{number}.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder, with `kdstudy` on its path."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "second.yaml").write_text(smoke("second"))
    pictures(folder)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("page", "line"), HERE)
def test_a_command_does_what_the_page_says(page: Path, line: str, folder: Path) -> None:
    """In a study of the smallest size, where the page's would take minutes."""
    words = shlex.split(line)
    assert words[0] == "kdstudy", "say which test runs it"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "KDSTUDY_STORE": str(folder / "store")}
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if line == "kdstudy init":
        assert (folder / "quickstart.yaml").exists()
        (folder / "quickstart.yaml").write_text(smoke("digits"))
    for name in re.findall(r"-o (\S+)", line):
        assert (folder / name).exists()


def test_make_quickstart_runs_that_study_from_an_environment_to_activate() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "quickstart"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert ".venv/bin/kdstudy run studies/quickstart.yaml" in done


def test_what_is_run_elsewhere_is_still_shown_and_its_test_is_there() -> None:
    shown = [str(each.values[1]) for each in COMMANDS]
    assert [start for start in ELSEWHERE if not any(line.startswith(start) for line in shown)] == []
    assert [place for place in ELSEWHERE.values() if not (ROOT / place).exists()] == []


def test_every_page_with_commands_is_read() -> None:
    assert len(HERE) >= 15
    assert {each.values[0].stem for each in COMMANDS} >= {"README", "quickstart", "recipes", "package", "slurm"}  # type: ignore[attr-defined]
