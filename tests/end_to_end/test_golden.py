"""A refactoring keeps the digits of studies/smoke.yaml bit for bit: scores, proposals, seeds and hashes of weights.

Those of the smallest study are compared in `tests.end_to_end.test_smoke_study`, which runs it. A file in ``golden``
holds them for one kind of machine; on others these tests are skipped. Where digits are meant to change (CHANGELOG.md
then says so), remove the files and write that of a machine anew, from the root of the checkout::

    .venv/bin/python -m tests.end_to_end.test_golden
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import SMOKE
from tests.end_to_end.pinned import kdstudy_json, killed, machine

pytestmark = pytest.mark.timeout(900)

GOLDEN = Path(__file__).with_name("golden")
KEPT = (
    "trial",
    "phase",
    "arm",
    "search",
    "index",
    "seeds",
    "values",
    "state",
    "epochs",
    "val",
    "test",
    "weights_sha256",
)


def derived(*changes: tuple[str, str]) -> str:
    """Return smoke.yaml's text with passages replaced, each of which stands there once."""
    text = SMOKE.read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


# smoke.yaml leaves `search.lag` to what the machine holds, and with it what a proposal may see: 1 is what it is on two
# cores.
SMALL = (("train_images: 700", "train_images: 300"), ("{epochs: 4, batch_size: 32", "{epochs: 3, batch_size: 16"))
ONE_SEED = ("confirm:   {seeds: 2}", "confirm:   {seeds: 1}")
STUDIES = {
    "smoke": derived(("trials_per_arm: 2", "trials_per_arm: 2, lag: 1")),
    "packed": derived(
        *SMALL,
        ONE_SEED,
        ("trials_per_arm: 2", "trials_per_arm: 4, startup: 2, lag: 2"),
        ("gpus: 0", "gpus: 0, pack: 2"),
    ),
    # One trial of an arm at a time, so that what the pruner knows depends on no race.
    "pruned": derived(
        *SMALL,
        ONE_SEED,
        ("trials_per_arm: 2", "trials_per_arm: 4, startup: 1, lag: 1, pruner: {asha: {grace: 1, reduction: 2}}"),
    ),
}


def digits(store: Path, study: str = "latest") -> list[dict[str, Any]]:
    """Return what the golden file holds of each trial; numbers as JSON writes them, which is exact."""
    trials = kdstudy_json(store, "show", study)["trials"]
    key, _ = machine()
    for numerics in filter(None, (trial["numerics"] for trial in trials)):  # a stopped trial has none
        found = {name: numerics[name] for name in ("torch", "cpu_capability")}
        assert found == {name: key[name] for name in found}, "the process that trained is pinned as the driver is"
    return [{name: trial[name] for name in KEPT} for trial in trials]


def run(folder: Path, name: str) -> list[dict[str, Any]]:
    (folder / "study.yaml").write_text(STUDIES[name])
    kdstudy_json(folder / "store", "run", str(folder / "study.yaml"))
    return digits(folder / "store")


def run_smoke_killed_and_resumed(folder: Path) -> list[dict[str, Any]]:
    (folder / "study.yaml").write_text(STUDIES["smoke"])
    killed(folder / "store", folder / "study.yaml", "[3/8]")
    (line,) = kdstudy_json(folder / "store", "list")
    assert line["status"] == "interrupted"
    kdstudy_json(folder / "store", "resume", "latest")
    return digits(folder / "store")


def known_digits() -> dict[str, list[dict[str, Any]]]:
    """What is to come out here, by study; skips where nothing is known of such a machine."""
    file = golden_file()
    if not file.exists():
        known = ", ".join(sorted(path.stem for path in GOLDEN.glob("*.json")))
        pytest.skip(f"digits are known for {known}; this machine is {file.stem}")
    return json.loads(file.read_text())["studies"]


@pytest.fixture(scope="module")
def golden() -> dict[str, list[dict[str, Any]]]:
    return known_digits()


def golden_file() -> Path:
    """Return the file of this kind of machine."""
    key, _ = machine()
    return GOLDEN / f"torch-{key['torch']}-{key['cpu_vendor']}-{key['cpu_capability']}.json"


def check(expected: list[dict[str, Any]], found: list[dict[str, Any]]) -> None:
    """Compare trial by trial, so that a failure names the first field that changed."""
    assert [trial["trial"] for trial in found] == [trial["trial"] for trial in expected]
    for was, now in zip(expected, found, strict=True):
        for name in KEPT:
            assert now[name] == was[name], (
                f"trial {was['trial']}: {name} is {now[name]}, and was {was[name]}; {golden_file().name} was written "
                f"with {json.loads(golden_file().read_text())['written_with']}, here is {machine()[1]}"
            )


@pytest.mark.slow
def test_a_packed_study_keeps_its_digits(golden: dict[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    check(golden["packed"], run(tmp_path, "packed"))


@pytest.mark.slow
def test_a_pruned_study_keeps_its_digits(golden: dict[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    assert {"stopped", "completed"} == {trial["state"] for trial in golden["pruned"]}, "the test meets both"
    check(golden["pruned"], run(tmp_path, "pruned"))


@pytest.mark.slow
def test_a_study_killed_and_resumed_has_the_same_digits(
    golden: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    check(golden["smoke"], run_smoke_killed_and_resumed(tmp_path))


def write() -> None:
    """Run every study twice, and the first once more with its driver killed; write the machine's file if they agree."""
    studies = {name: twice(name) for name in STUDIES}
    assert any(trial["state"] == "stopped" for trial in studies["pruned"]), "the test meets a stopped trial"
    with tempfile.TemporaryDirectory() as folder:
        check_agree("smoke, killed", studies["smoke"], run_smoke_killed_and_resumed(Path(folder)))
    key, notes = machine()
    GOLDEN.mkdir(exist_ok=True)
    golden_file().write_text(json.dumps({"key": key, "written_with": notes, "studies": studies}, indent=1) + "\n")
    print(f"{golden_file()}: written for {key}")


def twice(name: str) -> list[dict[str, Any]]:
    results = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            results.append(run(Path(folder), name))
    check_agree(name, *results)
    return results[0]


def check_agree(name: str, one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    assert one == other, f"{name}: two runs do not agree, so nothing can be promised"
    print(f"{name}: two runs agree in {len(one)} trials")


if __name__ == "__main__":
    write()
