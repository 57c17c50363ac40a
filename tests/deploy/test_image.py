"""The CPU image, built for real, and what it says of itself. It takes many minutes: CI leaves it out."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kdstudy import __version__
from tests.deploy.image import Buildah
from tests.tools import need

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
NAME = "kdstudy:test"
# "build", or a storage of buildah's that has the image already; read before a fixture clears it.
WANTED = os.environ.get("KDSTUDY_TEST_IMAGE")


@pytest.fixture(scope="module")
def image() -> Iterator[Buildah]:
    """The image: built now, or taken from the storage that ``KDSTUDY_TEST_IMAGE`` names."""
    if WANTED is None:
        pytest.skip("builds an image for many minutes; KDSTUDY_TEST_IMAGE=build asks for it")
    need("buildah")
    if WANTED != "build":
        yield Buildah(Path(WANTED))
        return
    folder = Path(tempfile.mkdtemp(prefix="kdstudy-image-"))
    try:
        buildah = Buildah(folder)
        buildah.make_base()
        buildah.build("cpu", NAME)
        yield buildah
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def container(image: Buildah) -> Iterator[str]:
    made = image("from", "--pull-never", NAME).strip()
    yield made
    image("rm", made)


@pytest.fixture(scope="module")
def settings(image: Buildah) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(image("inspect", "--type", "image", NAME))["Docker"]["config"]
    return found


def run(image: Buildah, container: str, settings: dict[str, Any], *command: str) -> str:
    """Run a command as the image would: its entry point, its user."""
    entry = settings["Entrypoint"]
    return image("run", "--isolation", "chroot", container, "--", *entry, *command, timeout=600)


def test_user_entry_point_and_health_check(settings: dict[str, Any]) -> None:
    assert settings["User"] == "10001:10001"
    assert settings["Entrypoint"] == ["python", "/opt/kdstudy/bin/entrypoint.py"]
    assert settings["Cmd"] == ["kdstudy", "--help"]
    assert settings["Healthcheck"]["Test"] == ["CMD", "python", "/opt/kdstudy/bin/healthcheck.py"]
    environment = dict(pair.split("=", 1) for pair in settings["Env"])
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert not [name for name in environment if re.search(r"PASSWORD|SECRET|ACCESS_KEY|TOKEN$", name)]


def test_kdstudy_runs_in_it(image: Buildah, container: str, settings: dict[str, Any]) -> None:
    assert run(image, container, settings, "kdstudy", "--version").strip() == f"kdstudy, version {__version__}"
    said = run(image, container, settings, "kdstudy", "check", "/opt/kdstudy/studies/smoke.yaml")
    assert "smoke.yaml: valid" in said
    assert run(image, container, settings, "python", "/opt/kdstudy/bin/healthcheck.py") == ""
    for program in ("ray", "mlflow"):
        assert run(image, container, settings, program, "--version")


def test_it_runs_as_nobody_special_and_cannot_change_itself(
    image: Buildah, container: str, settings: dict[str, Any]
) -> None:
    assert run(image, container, settings, "id", "-u").strip() == "10001"
    places = "for d in /opt/kdstudy /opt/kdstudy/bin /usr /etc; do test -w $d && echo $d; done; touch /data/store/x"
    assert run(image, container, settings, "sh", "-c", places) == ""
