"""A store that somebody damaged or forged: one line, no traceback, nothing touched outside it, nothing run."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import pickle
import random
import shutil
import sqlite3
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from kdstudy.cli import run
from kdstudy.errors import KdstudyError
from kdstudy.ledger import DatasetInfo, Ledger, StudyRecord, TeacherInfo, TrialRecord
from kdstudy.storage import Store
from kdstudy.study import TrialConfig, parse_study
from kdstudy.trial import dataset_of, describe_dataset, open_teacher, prepare_teacher, run_trial
from tests.fuzz.hostile import BASE, STRANGER, VALUES, flipped
from tests.fuzz.watch import watched

FAST, ALL = 20, 200
STUDY_ID = "fuzz-0a1b2c3d"
TABLES = (
    *("kdstudy_studies", "kdstudy_checked_studies", "kdstudy_searches"),
    *("kdstudy_trials", "kdstudy_trials", "kdstudy_epochs"),
)
COMMANDS = (
    ["list"], ["show"], ["show", "--json"], ["show", "--trial", "0"], ["show", "--yaml"], ["compare"],
    ["export", "--format", "safetensors", "-o", "store/exported"], ["reproduce", "--trial", "0"],
    ["resume", "--address", "127.0.0.1:1"],
)  # fmt: skip


class Code:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return Path("ran").touch, ()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as a study leaves it: record, teacher, students; the first trial's checkpoints as well."""
    root = tmp_path_factory.mktemp("whole") / "store"
    store = Store.at(str(root))
    store.create()
    text = yaml.safe_dump(BASE, sort_keys=False)
    study = parse_study(text)
    with Ledger.open(store.ledger_url, create=True) as ledger:
        ledger.create_study(StudyRecord(id=STUDY_ID, name="fuzz", seed=1, text=text, checked=study.to_json()))
        for number, arm in enumerate(study.arms[:2]):
            values = {path: hole.ends()[0] for path, hole in study.space(arm).items()}
            config = study.config(arm.name, values, data_seed=number, init_seed=number)
            teacher = prepare_teacher(config, store.teachers)
            dataset = DatasetInfo.from_json(describe_dataset(dataset_of(config, with_test=False)))
            known = TeacherInfo.from_json(teacher.to_json())
            ledger.update_study(STUDY_ID, teacher=known, dataset=dataset, status="interrupted", searches=2)
            ledger.add_trial(
                TrialRecord(
                    study_id=STUDY_ID,
                    number=number,
                    phase="search",
                    arm_id=arm.id,
                    index=0,
                    data_seed=number,
                    init_seed=number,
                    values=values,
                    config=config.to_json(),
                )
            )
            result = run_trial(
                config,
                lambda record, _result, number=number: ledger.record_epoch(STUDY_ID, number, record),
                teacher=open_teacher(store.teachers / teacher.key),
                folder=store.trial(STUDY_ID, number),
            )
            ledger.finish_trial(STUDY_ID, number, result)
    return root


def mutate(store: Path, seed: int) -> str:
    """Damage or forge one thing in the store; return what."""
    draw = random.Random(seed)
    return draw.choice((_bytes, _bytes, _column, _column, _column, _json, _checkpoint))(store, draw)


def _files(store: Path) -> list[Path]:
    return sorted(path for path in store.rglob("*") if path.is_file())


def _bytes(store: Path, draw: random.Random) -> str:
    """Flip, cut or replace a file's bytes."""
    file = draw.choice(_files(store))
    content = file.read_bytes()
    how = draw.choice(("flip", "cut", "empty", "noise", "pickle"))
    file.write_bytes(
        {
            "flip": flipped(content, draw, 1 + draw.randrange(20)),
            "cut": content[: draw.randrange(len(content) + 1)],
            "empty": b"",
            "noise": draw.randbytes(2000),
            "pickle": pickle.dumps(Code()),
        }[how]
    )
    return f"{how} {file.relative_to(store)}"


def _column(store: Path, draw: random.Random) -> str:
    """Put something else in a column of the record."""
    with contextlib.closing(sqlite3.connect(store / "ledger.db")) as database, database:
        database.execute("PRAGMA foreign_keys=OFF")
        table = draw.choice(TABLES)
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        column, value = draw.choice(columns), draw.choice(VALUES)
        stored = value if isinstance(value, (int, float, str)) and abs(hash(value)) < 2**63 else None
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            stored = str(value)
        if draw.random() < 0.5:
            stored = draw.choice((json.dumps(value), "{", "[" * 5000, b"\xff\xfe", "null", '{"a": NaN}'))
        if isinstance(stored, str):
            stored = stored.encode("utf-8", "surrogatepass")
            stored = stored.decode("utf-8", "replace")
        try:
            database.execute(f'UPDATE {table} SET "{column}" = ?', (stored,))
        except sqlite3.IntegrityError:
            return "nothing: the database refuses it"
    return f"{table}.{column} = {stored!r:.60}"


def _json(store: Path, draw: random.Random) -> str:
    """Put something else at one place of a JSON document: a description, or a column that holds one."""
    if draw.random() < 0.5:
        file = draw.choice([path for path in _files(store) if path.suffix == ".json"])
        tree = json.loads(file.read_text())
        where = _replace_in(tree, draw)
        file.write_text(json.dumps(tree))
        return f"{file.relative_to(store)}: {where}"
    table, column = draw.choice(
        (("studies", "teacher"), ("studies", "environment"), ("checked_studies", "study"), ("checked_studies", "study"),
         ("checked_studies", "study"), ("trials", "config"), ("trials", "values"),
         ("trials", "numerics"), ("epochs", "record"))
    )  # fmt: skip
    with contextlib.closing(sqlite3.connect(store / "ledger.db")) as database, database:
        ((text,),) = database.execute(f'SELECT "{column}" FROM kdstudy_{table} LIMIT 1').fetchall()
        tree = json.loads(text)
        where = _replace_in(tree, draw)
        database.execute(f'UPDATE kdstudy_{table} SET "{column}" = ?', (json.dumps(tree),))
    return f"{table}.{column}: {where}"


def _replace_in(tree: Any, draw: random.Random) -> str:
    path = []
    while isinstance(tree, (dict, list)) and tree:
        key = draw.choice(list(tree) if isinstance(tree, dict) else range(len(tree)))
        path.append(str(key))
        if not isinstance(tree[key], (dict, list)) or not tree[key] or draw.random() < 0.3:
            tree[key] = draw.choice(VALUES)
            break
        tree = tree[key]
    return ".".join(path)


def _checkpoint(store: Path, draw: random.Random) -> str:
    """Write a checkpoint whose digest is right and whose content is not."""
    file = draw.choice(sorted(store.rglob("epoch-*.pt")))
    state = torch.load(io.BytesIO(file.read_bytes()[32:]), weights_only=True)
    key = draw.choice(sorted(state))
    how = draw.choice(("code", "drop", "value", "inner", "list"))
    if how == "drop":
        del state[key]
    elif how == "code":
        state[key] = Code()
    elif how == "inner" and isinstance(state[key], dict) and state[key]:
        state[key][draw.choice(sorted(state[key], key=str))] = draw.choice((None, 3, torch.zeros(2), "x", []))
    else:
        state = [state] if how == "list" else {**state, key: draw.choice((None, 7, "x", [], {}, torch.zeros(1)))}
    target = file.with_name("written")
    torch.save(state, target)
    content = target.read_bytes()
    target.unlink()
    file.write_bytes(hashlib.sha256(content).digest() + content)
    return f"{how} {key} in {file.relative_to(store)}"


def judge(seed: int, whole: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> Counter[str]:
    """Damage a copy of the store and put every command to it."""
    store = folder / "store"
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(whole, store)
    what = mutate(store, seed)
    ends: Counter[str] = Counter()
    for arguments in COMMANDS:
        with watched(store, folder.parent / "temporary", stranger=STRANGER) as faults, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = run([*arguments, *([] if "--store" in arguments else ["--store", "store"])])
        told = capsys.readouterr()
        where = (seed, what, arguments)
        faults = [fault for fault in faults if not (arguments[0] == "resume" and fault.startswith("socket.connect"))]
        assert faults == [], (where, faults)
        assert code in (0, 1), where
        assert "Traceback" not in told.err, (where, told.err)
        errors = [line for line in told.err.splitlines() if line.startswith("error: ")]
        assert code == 0 or errors or arguments[0] == "reproduce", (where, told.err)
        ends[f"{arguments[0]} {code}"] += 1
    _go_on(store, (seed, what))
    assert [path.name for path in folder.iterdir()] == ["store"], (seed, what)
    return ends


def _go_on(store: Path, where: object) -> None:
    """Resume the first trial from its checkpoints, as a worker does: it goes on or starts again, in one piece."""
    study = parse_study(yaml.safe_dump(BASE, sort_keys=False))
    arm = study.arms[0]
    values = {path: hole.ends()[0] for path, hole in study.space(arm).items()}
    config: TrialConfig = study.config(arm.name, values, data_seed=0, init_seed=0)
    with watched(store, stranger=STRANGER) as faults, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            teacher = open_teacher(next(iter(sorted((store / "teachers").iterdir()))))
            result = run_trial(config, lambda _r, _s: None, teacher=teacher, folder=store / "studies" / STUDY_ID / "0")
        except KdstudyError as error:
            assert "\n" not in str(error), where
        else:
            assert result.state == "completed", where
    assert faults == [], (where, faults)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "path" / STRANGER).mkdir(parents=True)
    (tmp_path / "path" / STRANGER / "__init__.py").write_text("import pathlib\npathlib.Path('ran').touch()\n")
    monkeypatch.syspath_prepend(tmp_path / "path")
    for name in ("here", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.slow
def test_damaged_stores(whole: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends = sum((judge(seed, whole, folder, capsys) for seed in range(FAST)), Counter[str]())
    assert ends["show 0"] > 0
    assert ends["show 1"] > 0


@pytest.mark.long
@pytest.mark.timeout(900)
def test_all_damaged_stores(whole: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(ALL):
        judge(seed, whole, folder, capsys)
