"""What is found wrong with a study before anything is trained or recorded: one line for each fault, with its place."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kdstudy.cli import run
from kdstudy.errors import DataError, ModelError, StudyError
from kdstudy.ledger import LeaseOwner, Ledger, StudyRecord, TeacherInfo
from kdstudy.models import build_model
from kdstudy.runner import check_study, resume_study
from kdstudy.runner.checks import check_machine
from kdstudy.search import Sampler
from kdstudy.storage import Store
from kdstudy.study import Problems, ResourcesConfig, parse_study
from kdstudy.transfer.attention import AttentionTransfer
from kdstudy.trial import inspect_parts, run_corners
from tests.tiny import TINY, prepared

HERE = "tests.runner.test_checks"
NETWORK, TRANSFER, POLICY = "student: {model: resnet8}", "[none, attention]", "[constant]"


class Net(nn.Module):
    """Two convolutions; refuses a width."""

    def __init__(self, num_classes: int, in_channels: int, *, width: int = 8) -> None:
        super().__init__()
        if width > 12:
            raise KeyError("no such width")
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.mid = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(torch.relu(self.mid(torch.relu(self.first(images)))).mean((2, 3)))
        return logits


class Picky(AttentionTransfer):
    """Attention transfer that refuses a weight."""

    def __init__(self, context, *, weight: float = 1.0) -> None:
        super().__init__(context, weight=weight)
        assert weight < 5, "too heavy"


class Moody(Sampler):
    """A sampler that cannot be made."""

    def __init__(self, *, mood: str = "bad") -> None:
        raise OSError(f"in a {mood} mood")

    def propose(self, space, history, *, index, seed):
        raise NotImplementedError


def faults(text: str, **options: object) -> list[str]:
    with pytest.raises(StudyError) as caught:
        check_study(parse_study(text, "x.yaml"), "x.yaml", **options)  # type: ignore[arg-type]
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("old", "new", "place", "told"),
    [
        ("seed", "layers: [[midd, layer2]]", "11: layers", "the student has no layer 'midd'"),
        (
            "seed",
            "layers: [[layer1, layre2]]",
            "11: layers",
            "the teacher has no layer 'layre2' that runs and gives one",
        ),
        (NETWORK, f"student: {{model: '{HERE}:Net'}}\nlayers: [[midd, layer2]]", "5: layers", "did you mean 'mid'?"),
        (
            NETWORK,
            f"student: {{model: {{'{HERE}:Net': {{width: {{int: [8, 16]}}}}}}}}",
            "4: student.model",
            f"'{HERE}:Net' cannot be built (KeyError: 'no such width'); `kdstudy --debug` shows where",
        ),
        (
            NETWORK,
            f"student: {{model: {{choice: [resnet8, {{'{HERE}:Net': {{width: 13}}}}]}}}}",
            "4: student.model",
            "cannot be built (KeyError: 'no such width')",
        ),
        (
            TRANSFER,
            f"[none, {{'{HERE}:Picky': {{label: mine, weight: {{uniform: [1, 9]}}}}}}]",
            "7: arms.transfers.mine",
            f"'{HERE}:Picky' with {{\"weight\": 9.0}} raised AssertionError: too heavy",
        ),
        (TRANSFER, "\n    - none\n    - hessian: {p: 3}", "9: arms.transfers.hessian", "form: tangent holds for p = 2"),
        ("sampler: random", f"sampler: '{HERE}:Moody'", "9: search.sampler", "raised OSError: in a bad mood"),
        (
            POLICY,
            "[constant, {replay: {multipliers: [[1, 2]], interval: 1}}]",
            "8: arms.policies.replay",
            "3 crucial layers",
        ),
        (
            "val_fraction: 0.25",
            "val_fraction: 0.25, train_images: 9999",
            "2: data.train_images",
            "got 9999; choose 1 to",
        ),
        ("name: synthetic", "name: imagefolder, root: /no/such", "2: data.root", "no image folder at /no/such"),
        ("seed", "cache: {mode: all_views}\nlayers: [[a, b]]", "12: layers", "the student has no layer 'a'"),
    ],
)
def test_what_is_wrong_is_one_line_at_its_place(old: str, new: str, place: str, told: str) -> None:
    text = f"{TINY}{new}\n" if old == "seed" else TINY.replace(old, new)
    (line,) = faults(text)
    number, _, path = place.partition(": ")
    assert line.startswith(f"x.yaml:{number}: {path}: ") or (old == "seed" and f": {path}: " in line), line
    assert told in line


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = TINY.replace("epochs: 1}", f"path: {tmp_path}/none.pt}}") + "layers: [[midd, layer2]]\n"
    assert [line.split(": ")[1] for line in faults(text)] == ["teacher.path", "layers"]


def weights(classes: int) -> dict[str, Tensor]:
    module = build_model("resnet8", {}, num_classes=classes, image_shape=(1, 16, 16), mean=[0.5], std=[0.5], seed=0)
    return {name: value for name, value in module.state_dict().items() if not name.startswith("normalise.")}


def thousand(path: Path) -> None:
    torch.save(weights(1000), path)


def thousand_by_other_names(path: Path) -> None:
    save_file({f"backbone.{name}": value for name, value in weights(1000).items()}, path)


def another_network(path: Path) -> None:
    torch.save(nn.Linear(3, 2).state_dict(), path)


def cut_short(path: Path) -> None:
    thousand_by_other_names(path)
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("name", "write", "told"),
    [
        ("a.pt", lambda path: None, "cannot be read (No such file or directory)"),
        ("a.pt", lambda path: path.mkdir(), "cannot be read (not a file)"),
        ("a.pt", lambda path: path.touch(), "is neither safetensors nor a plain state dict"),
        ("a.pt", lambda path: path.write_bytes(b"nonsense"), "is neither safetensors nor a plain state dict"),
        ("a.safetensors", cut_short, "is neither safetensors nor a plain state dict"),
        ("a.pt", another_network, "does not fit the network: missing ['conv1.weight'"),
        ("a.pt", thousand, "tells 1000 classes apart, the data have 4; name a file trained on these classes"),
        ("a.safetensors", thousand_by_other_names, "tells 1000 classes apart, the data have 4"),
    ],
)
def test_a_teachers_file_is_read_and_fitted(
    tmp_path: Path, name: str, write: Callable[[Path], object], told: str
) -> None:
    write(tmp_path / name)
    text = TINY.replace("epochs: 1}", f"path: {tmp_path / name}}}")
    (line,) = faults(text)
    assert line.startswith(f"x.yaml:3: teacher.path: {tmp_path / name} ") and told in line, line
    check_study(parse_study(text), "x.yaml", prepared=True)  # the store has the teacher: its file is not needed


def test_a_teachers_file_that_fits_is_no_fault(tmp_path: Path) -> None:
    torch.save(weights(4), tmp_path / "a.pt")
    loaded = f"path: {tmp_path}/a.pt, allow_weak: true}}"
    check_study(parse_study(TINY.replace("epochs: 1}", loaded)), "x.yaml")


def guessing(path: Path) -> str:
    """A study whose teacher, from a file, always names one class: 1 / 4 of the validation images of each."""
    state = weights(4)
    torch.save(state | {name: torch.zeros_like(state[name]) for name in ("fc.weight", "fc.bias")}, path)
    return TINY.replace("epochs: 1}", f"path: {path}}}")


WEAK = "its validation score 0.250 is near chance (0.250); check mean, std and key_map, or set teacher.allow_weak: true"


def test_a_loaded_teacher_near_chance_is_found_before_anything_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = guessing(tmp_path / "a.pt")
    assert faults(text) == [f"x.yaml:3: teacher: {WEAK}"]
    (tmp_path / "study.yaml").write_text(text)
    assert run(["run", str(tmp_path / "study.yaml"), "--store", str(tmp_path / "store")]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path}/study.yaml:3: teacher: {WEAK}\n"
    assert not (tmp_path / "store").exists()
    check_study(parse_study(text), "x.yaml", prepared=True)  # the store has the teacher, and with it its score


def test_check_tells_what_a_loaded_teacher_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = guessing(tmp_path / "a.pt").replace("a.pt}", "a.pt, allow_weak: true}")
    (tmp_path / "study.yaml").write_text(text)
    assert run(["check", str(tmp_path / "study.yaml")]) == 0
    told = capsys.readouterr()
    assert re.search(r"^teacher: validation 0\.2500 on \d+ images, chance 0\.2500$", told.out, re.MULTILINE)
    assert "warning" not in told.out


def test_of_many_validation_images_some_are_looked_at_and_all_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = guessing(tmp_path / "a.pt")
    monkeypatch.setattr("kdstudy.trial.teacher_score.GLANCE", 8)
    found = check_study(parse_study(text), "x.yaml")
    assert found.data is not None
    many = len(found.data.val)
    assert many > 8
    assert found.notes[-1].startswith("teacher: validation ")
    assert f" on 8 of {many} images, chance " in found.notes[-1]
    (line,) = found.warnings
    assert line.startswith("teacher: its validation score ")
    assert line.endswith(f"; all {many} validation images decide when the study runs")


def test_this_machine_must_have_what_one_trial_takes() -> None:
    problems = Problems("x.yaml")
    check_machine(ResourcesConfig(cpus=1), problems)
    assert not problems
    check_machine(ResourcesConfig(cpus=100_000, gpus=99), problems)
    cpus, gpus = problems.told()
    assert cpus.startswith("x.yaml: resources.cpus: this machine has ") and "got 100000 for one; lower it" in cpus
    assert gpus.startswith("x.yaml: resources.gpus: this machine has ") and "got 99 for one trial" in gpus


def test_on_a_cluster_the_nodes_may_have_what_this_machine_has_not(caplog: pytest.LogCaptureFixture) -> None:
    text = TINY.replace("epochs: 1}", "path: /no/such.pt}").replace("name: synthetic", "name: imagefolder, root: /no")
    with caplog.at_level("INFO", "kdstudy"):
        check_study(parse_study(text + "resources: {cpus: 100000}\n"), "x.yaml", address="host:6379")
    assert "note: data.root: not on this machine (no image folder at /no" in caplog.text
    assert faults(TINY + "layers: [[midd, layer2]]\n", address="host:6379"), "what is wrong everywhere is wrong"


@pytest.mark.parametrize("command", ["run", "submit"])
def test_a_wrong_study_is_neither_recorded_nor_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (tmp_path / "study.yaml").write_text(TINY + "layers: [[midd, layer2]]\n")
    sent = ["--address", "http://127.0.0.1:9"] if command == "submit" else []
    assert run([command, str(tmp_path / "study.yaml"), "--store", str(tmp_path / "store"), *sent]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith(f"error: {tmp_path}/study.yaml:10: layers: the student has no layer 'midd'")
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


@pytest.mark.parametrize("status", ["interrupted", "failed"])
def test_a_study_that_cannot_go_on_stays_as_it_was(tmp_path: Path, status: str) -> None:
    """Its data are not where they were: the record says so neither as a failure nor as something to be run."""
    store = Store.at(str(tmp_path / "store"))
    store.create()
    text = TINY.replace("name: synthetic", "name: imagefolder, root: gone")
    with Ledger.open(store.ledger_url, create=True) as ledger:
        record = StudyRecord.of(parse_study(text), {})
        ledger.create_study(record)
        ledger.update_study(record.id, status=status, teacher=TeacherInfo("k", "s", 0.9), seeds=3)
        before = ledger.study(record.id)
        with pytest.raises(StudyError, match=rf"{record.id}:2: data.root: no image folder at .*/gone"):
            resume_study("latest", store)
        assert ledger.study(record.id) == before
        ledger.acquire_lease(record.id, LeaseOwner.here())  # refused if the driver had kept it


def test_data_that_only_the_nodes_have_are_checked_there_before_the_teacher_is_trained(tmp_path: Path) -> None:
    found = prepared(TINY + "layers: [[midd, layer2]]\n", tmp_path / "teachers")
    assert "layers: the student has no layer 'midd'" in found["error"] and "\n" not in found["error"]
    assert not (tmp_path / "teachers").exists()


@pytest.mark.parametrize(("old", "new", "kind"), [
    ("name: synthetic", "name: imagefolder, root: /no/such", DataError),
    ("student: {model: resnet8}", "student: {model: resnet8}\nlayers: [[midd, layer2]]", ModelError),
])  # fmt: skip
def test_faults_of_the_data_alone_are_raised_as_such(old: str, new: str, kind: type[Exception]) -> None:
    study = parse_study(TINY.replace(old, new))
    with pytest.raises(kind):
        inspect_parts(study.student_corners()).raise_faults()


class Uneven(AttentionTransfer):
    """A user's method with a slip that shows in a batch."""

    def losses(self, student, teacher):
        return [one - other[:, :1] * "x" for one, other in zip(student, teacher, strict=True)]


def test_what_a_users_method_raises_in_a_batch_is_one_line_for_each_corner() -> None:
    study = parse_study(TINY.replace(TRANSFER, f"['{HERE}:Uneven']"), "x.yaml")
    with pytest.raises(StudyError) as caught:
        run_corners(study)
    for problem in caught.value.problems:
        assert f"in a batch with {HERE}:Uneven; mend it (--debug shows where)" in problem
        assert "\n" not in problem
    assert isinstance(caught.value.__cause__, TypeError)
