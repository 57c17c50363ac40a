"""The command line: light where it should be, one line where the user is wrong, JSON and nothing else with --json."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from kdstudy import __version__
from kdstudy.cli import COMMANDS, run
from kdstudy.ledger import Ledger
from kdstudy.plugins import DATASETS, MODELS, OPTIMIZERS, POLICIES, PRUNERS, SAMPLERS, SCHEDULES, TRANSFERS
from tests.confirmed import record
from tests.shipped import STUDIES, load_shipped, shipped

SCHEMA = STUDIES.parent / "kdstudy" / "study" / "study.schema.json"
HEAVY = ("ray", "mlflow", "optuna")


def modules_after(*arguments: str) -> set[str]:
    """Return the heavy top-level modules that a command imported."""
    code = (
        "import sys, kdstudy.cli; code = kdstudy.cli.run(sys.argv[1:]); "
        "print('MODULES', *sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rpartition("MODULES")[2].split()) & {*HEAVY, "torch"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert modules_after(*arguments) == set()


def test_check_imports_no_ray_mlflow_or_optuna() -> None:
    assert modules_after("check", str(STUDIES / "quickstart.yaml")) <= {"torch"}


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)
    assert run(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("chek", "no command is called 'chek'; did you mean 'check'?"),
        ("Compare", "no command is called 'Compare'; did you mean 'compare'?"),
        ("nonsense", "no command is called 'nonsense'; choose from init, check, schema, run, "),
    ],
)
def test_a_misspelt_command_is_told_the_nearest(typed: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([typed, "study.yaml"]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("study", shipped())
def test_every_shipped_study_is_valid(study: Path) -> None:
    load_shipped(study)


@pytest.mark.parametrize("study", ["smoke.yaml", "quickstart.yaml"])
def test_shipped_studies_of_bundled_data_can_be_run_anywhere(study: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(STUDIES / study), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["valid"] is True


def test_check_tells_images_and_classes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(STUDIES / "smoke.yaml")]) == 0
    told = capsys.readouterr().out
    # 700 of the training images, a fifth of them for validation; the test split is every fifth of each class.
    assert "data: digits, images of 1 x 8 x 8: 560 to train, 140 to validate, 355 to test" in told
    assert "data: 10 classes (training and validation images): 0 70, 1 71" in told


def test_check_misses_data_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (STUDIES / "smoke.yaml").read_text().replace("{name: digits, val", f"{{name: cifar10, root: {tmp_path}, val")
    (tmp_path / "study.yaml").write_text(text)
    assert run(["check", str(tmp_path / "study.yaml"), "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert (
        f"{tmp_path}/study.yaml:5: data.root: no CIFAR10 at {tmp_path}/cifar-10-batches-py; set data.d" in captured.err
    )
    (tmp_path / "study.yaml").write_text(text.replace("root:", "download: true, root:"))
    assert run(["check", str(tmp_path / "study.yaml"), "--json"]) == 0
    assert "note: the data are not here yet and will be downloaded" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


def test_check_says_what_a_study_costs_and_can_see(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study, store = tmp_path / "study.yaml", tmp_path / "store"
    text = (STUDIES / "smoke.yaml").read_text().partition("\n")[2]
    study.write_text(text.replace("seeds: 2", "searches: 5, seeds: 2, smallest: 0.5"))
    arms = {"attention/constant": [(0.5,)] * 3, "attention/layerwise": [(0.51,), (0.52,), (0.53,)]}
    with Ledger.open(f"sqlite:///{store}/ledger.db", create=True) as ledger:
        record(ledger, arms)
    assert run(["check", str(study), "--sd", "1"]) == 0
    told = capsys.readouterr().out
    # 2 arms, 5 searches of 2 trials and 2 seeds; detectable by scipy's noncentral t: tests/analysis/test_forecast.py.
    assert "40 trials of up to 4 epochs in all" in told
    assert (
        "with 5 searches it finds a difference of 1.7 points with 80% power (sd of one search 1.0 points, 1 com" in told
    )
    assert "0.5 points would take 34 searches" in told
    assert "hours" not in told
    assert run(["check", str(study), "--like", "latest", "--store", str(store)]) == 0
    like = capsys.readouterr().out
    # 40 trials of 4 epochs of 3 s.
    assert "about 0.1 hours of one slot, at the earlier study's 3 s an epoch" in like
    assert like.splitlines()[-2:] == told.splitlines()[-2:], "an sd of 1 point there too"
    assert run(["check", str(study), "--like", "latest", "--sd", "2", "--json", "--store", str(store)]) == 0
    forecast = json.loads(capsys.readouterr().out)["forecast"]
    assert (forecast["sd"], forecast["comparisons"], forecast["searches_needed"]) == (0.02, 1, 128)
    assert forecast["hours"] == pytest.approx(40 * 4 * 3 / 3600)


@pytest.mark.parametrize("searches", [1, 2, 3])
def test_an_earlier_study_without_spread_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], searches: int
) -> None:
    arms = {"attention/constant": [(0.5,)] * searches, "attention/layerwise": [(0.5,)] * searches}
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db", create=True) as ledger:
        record(ledger, arms)
    given = ["check", str(STUDIES / "smoke.yaml"), "--like", "latest", "--store", str(tmp_path)]
    assert run(given) == 0
    told = capsys.readouterr().out
    assert "hours of one slot, at the earlier study's 3 s an epoch" in told
    assert "the earlier study tells no spread between searches" in told and "or say --sd POINTS" in told
    assert "it finds a difference" not in told
    assert run([*given, "--json"]) == 0
    forecast = json.loads(capsys.readouterr().out)["forecast"]
    assert (forecast["sd"], forecast["detectable"], forecast["seconds_per_epoch"]) == (None, None, 3.0)


@pytest.mark.parametrize(
    ("searches", "warning"),
    [
        (1, "confirm.searches is 1: it can tell configurations apart, not policies; a verdict on a policy takes 3, a"),
        (2, "confirm.searches is 2: it can tell"),
        (4, "confirm.searches is 4: verdicts see large differences only; 5 are fair"),
        (5, None),
    ],
)
def test_check_warns_of_few_searches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], searches: int, warning: str | None
) -> None:
    study = tmp_path / "study.yaml"
    study.write_text((STUDIES / "smoke.yaml").read_text().replace("seeds: 2", f"searches: {searches}, seeds: 2"))
    assert run(["check", str(study)]) == 0
    told = capsys.readouterr().out
    assert warning in told if warning else "confirm.searches" not in told
    assert run(["check", str(study), "--sd", "1"]) == 0
    told = capsys.readouterr().out
    assert ("what differences it finds can be said of 3 searches or more" in told) == (searches < 3)
    assert ("it finds a difference of" in told) == (searches >= 3)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--sd", "0"], 2, "--sd"),
        (["--like", "nothing"], 1, "error: "),
        (["--like", "latest"], 1, "error: "),
    ],
)
def test_a_forecast_that_nothing_tells_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, message: str
) -> None:
    assert run(["check", str(STUDIES / "smoke.yaml"), *options, "--store", str(tmp_path / "none")]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert code == 2 or len(captured.err.splitlines()) == 1
    assert not (tmp_path / "none").exists()


def test_confirm_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["confirm", "latest"]) == 1
    assert (
        capsys.readouterr().err
        == "error: confirm: says neither --searches nor --seeds; write for example --searches 4\n"
    )


def test_corners_run_one_batch_at_both_ends(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(STUDIES / "smoke.yaml"), "--corners"]) == 0
    assert "its corners run" in capsys.readouterr().out


def test_corners_name_the_arm_that_cannot_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (STUDIES / "smoke.yaml").read_text()
    study = tmp_path / "study.yaml"
    study.write_text(text.replace("- attention: {weight: {log: [1, 100]}}", "- 'tests.cli.broken_terms:Broken'"))
    assert run(["check", str(study)]) == 0
    capsys.readouterr()
    assert run(["check", str(study), "--corners"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 4
    assert all(line.startswith("error: tests.cli.broken_terms:Broken/") and "no such map" in line for line in errors)


def test_a_wrong_study_is_one_line_a_problem_and_creates_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study.yaml"
    study.write_text((STUDIES / "smoke.yaml").read_text().replace("epochs: 4, batch_size", "epochs: 0, batchsize"))
    for command in ("check", "run"):
        assert run([command, str(study), *(["--store", str(tmp_path / "store")] if command == "run" else [])]) == 1
        captured = capsys.readouterr()
        lines = captured.err.splitlines()
        assert captured.out == ""
        assert len(lines) >= 2
        assert all(line.startswith(f"error: {study}:") for line in lines), lines
        assert any("batchsize" in line and "batch_size" in line for line in lines)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.yaml"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nonsense"], 2),
        (["run"], 2),
        (["confirm", "x"], 1),
        (["confirm", "x", "--searches", "2"], 1),
        (["confirm", "x", "--searches", "-1"], 2),
        (["confirm", "x", "--seeds", "10001"], 2),
        (["list", "--nonsense"], 2),
        (["list"], 1),
        (["show", "nothing"], 1),
        (["compare", "nothing"], 1),
        (["reproduce", "nothing"], 1),
        (["resume", "nothing"], 1),
        (["ui"], 1),
        (["list", "--store", "a?b"], 1),
        (["show", "x", "--trial", "9" * 20], 2),
        (["show", "x", "--yaml", "--json"], 2),
        (["show", "x", "--trial", "1", "--yaml", "--replay"], 2),
        (["show", "x", "--replay"], 2),
        (["transfers", "atention"], 1),
        (["run", "no-such-file.yaml"], 1),
    ],
)
def test_exit_codes_without_traceback_or_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err
    assert "Traceback" not in captured.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["list", "--json"], ["show"], ["compare"], ["report"], ["resume"], ["reproduce"], ["sync"],
     ["confirm", "--seeds", "1"], ["export", "--format", "torch", "-o", "x"]],
    ids=" ".join,
)  # fmt: skip
def test_a_store_that_is_not_there_is_told_and_not_created(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    store = tmp_path / "none"
    assert run([*arguments, "--store", str(store)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith(
        f"error: ledger {store}/ledger.db: does not exist; name the --store of your studies, or start"
    )
    assert line.endswith(f"kdstudy run STUDY.yaml --store {store}'"), "as it must be typed"
    assert not store.exists()


def test_a_store_without_studies_lists_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Ledger(f"sqlite:///{tmp_path}/ledger.db").close()
    assert run(["list", "--json", "--store", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("command", "registry"),
    [
        ("transfers", TRANSFERS),
        ("policies", POLICIES),
        ("models", MODELS),
        ("datasets", DATASETS),
        ("samplers", SAMPLERS),
        ("pruners", PRUNERS),
        ("schedules", SCHEDULES),
        ("optimizers", OPTIMIZERS),
    ],
)
def test_plug_ins_are_listed_and_documented(command: str, registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == list(registry)
    assert all(entry["summary"].endswith(".") for entry in listed)
    for name in registry:
        assert run([command, name, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert [option["name"] for option in document["options"]] == list(registry.options(name))
        assert len(document["documentation"]) > 40
        assert run([command, name]) == 0
        assert name in capsys.readouterr().out


def test_the_schema_is_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"].endswith("2020-12/schema")


def test_the_packaged_schema_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0
    assert capsys.readouterr().out == SCHEMA.read_text(encoding="utf-8"), (
        "write it anew: python -m kdstudy schema > kdstudy/study/study.schema.json"
    )


@pytest.mark.parametrize("study", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_editors_find_the_schema_of_a_shipped_study(study: Path) -> None:
    first = study.read_text(encoding="utf-8").splitlines()[0]
    relative = first.removeprefix("# yaml-language-server: $schema=")
    assert relative != first and (study.parent / relative).resolve() == SCHEMA


def test_a_commands_log_is_lines_on_stderr_and_warnings_say_that_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logging.getLogger("kdstudy.somewhere")

    def work(**_options: object) -> None:
        log.debug("not shown")
        log.info("as it is, 100 % of it")
        log.warning("the disk is slow")
        log.warning("trial 3 goes on", extra={"plain": True})
        with contextlib.redirect_stderr(io.StringIO()) as table:  # as a live table does
            log.error("gone")
        assert table.getvalue() == "error: gone\n"

    monkeypatch.setattr("kdstudy.cli.cli.main", work)
    assert run([]) == 0
    assert capsys.readouterr() == ("", "as it is, 100 % of it\nwarning: the disk is slow\ntrial 3 goes on\n")
    log.warning("after it")
    assert capsys.readouterr() == ("", ""), "whoever called it decides again"
