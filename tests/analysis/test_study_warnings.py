"""Warnings from hand-made records: what sets each off, what it says, and what leaves it quiet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kdstudy.analysis import Answer
from kdstudy.data import Split
from kdstudy.data.split import hold_out
from kdstudy.ledger import DatasetInfo, Ledger, TeacherInfo
from tests.answered import GAIN, LAYERWISE, LR, WEIGHT, Made, answer_of, warned

TAUGHT = "{attention: {weight: {log: [1, 10]}}}"
POLICIES = f"constant, {{{LAYERWISE}}}"
PAIR = ("attention/constant", "attention/layerwise")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        yield opened


def pair(ledger: Ledger, constant: Made, layerwise: Made, **study: str) -> Answer:
    """attention under constant and layerwise."""
    made = dict(zip(PAIR, (constant, layerwise), strict=True))
    return answer_of(ledger, made, **{"transfers": TAUGHT, "policies": POLICIES, **study})


def plain_and_taught(ledger: Ledger, plain: Made, taught: Made, **record: object) -> Answer:
    """none/constant and attention/constant."""
    return answer_of(ledger, {"none/constant": plain, "attention/constant": taught}, record)


GOOD = Made([(0.90, 0.92), (0.91, 0.92), (0.89, 0.92)])


def test_a_sound_study_warns_of_nothing(ledger: Ledger) -> None:
    better = Made([(0.93, 0.95), (0.93, 0.94), (0.92, 0.94)])
    assert plain_and_taught(ledger, GOOD, better, teacher=TeacherInfo(val=0.97, test=0.96, seen=False)).warnings == ()


@pytest.mark.parametrize(
    ("search", "base_lr", "told"),
    [
        ("trials_per_arm: 7", "{log: [0.01, 1.0]}", "7 configurations"),
        ("trials_per_arm: 1", "{log: [0.01, 1.0]}", "1 configuration an arm"),
        ("budget: {trials: 30}", "{log: [0.01, 1.0]}", "5 configurations"),  # 2 arms, 3 searches
        ("trials_per_arm: 8", "{log: [0.01, 1.0]}", None),
        ("trials_per_arm: 1", "0.1", None),  # nothing is searched
    ],
)
def test_few_trials(ledger: Ledger, search: str, base_lr: str, told: str | None) -> None:
    made = {"none/constant": GOOD, "kd/constant": GOOD}
    found = warned(answer_of(ledger, made, transfers="none, kd", base_lr=base_lr, search=search), "few_trials")
    assert [arm for arm, _ in found] == [None] * (told is not None)
    assert all(str(told) in message and "search.trials_per_arm" in message for _, message in found)


def test_a_tiny_student_of_three_classes_at_chance(ledger: Ledger) -> None:
    """Five of six arms guess."""
    third = Made([(1 / 3, 1 / 3)])
    arms = ["none", "kd", "sp", "pkt", "rkd"]
    made = {**{f"{arm}/constant": third for arm in arms}, "attention/constant": Made([(0.5, 0.52)])}
    transfers = f"none, kd, {TAUGHT}, sp, pkt, rkd"
    three = DatasetInfo("own", num_classes=3)
    ((arm, message),) = warned(answer_of(ledger, made, {"dataset": three}, transfers=transfers), "at_chance")
    assert arm is None
    assert "at chance (33.3%): none/constant, kd/constant, sp/constant, pkt/constant, rkd/constant;" in message


@pytest.mark.parametrize(
    ("scores", "dataset", "told"),
    [
        ([(0.9, 0.9), ("diverged", "diverged"), (0.9, 0.9)], DatasetInfo(num_classes=10), "in 1 of 3 searches"),
        ([(0.14, 0.14), (0.15, 0.15), (0.15, 0.15)], DatasetInfo(num_classes=10), "in 1 of 3 searches"),  # 0.145
        ([(0.9, 0.05), (0.9, 0.9), (0.9, 0.9)], DatasetInfo(num_classes=10), None),  # one seed of one search
        ([(0.09, 0.09)] * 3, DatasetInfo(multilabel=True, chance=0.08), "(8.0%): attention/constant;"),  # 0.0984
        ([(0.11, 0.11)] * 3, DatasetInfo(multilabel=True, chance=0.08), None),
        ([(0.01, 0.01)] * 3, DatasetInfo(), None),  # an older record does not tell what chance is
    ],
)
def test_one_arm_at_chance(ledger: Ledger, scores: list, dataset: DatasetInfo, told: str | None) -> None:
    found = warned(plain_and_taught(ledger, GOOD, Made(scores), dataset=dataset), "at_chance")
    assert [arm for arm, _ in found] == ["attention/constant"] * (told is not None)
    assert all(str(told) in message for _, message in found)


def test_a_teacher_that_saw_the_validation_images(ledger: Ledger) -> None:
    seen = TeacherInfo(val=0.978, test=0.622, seen=True)
    ((arm, message),) = warned(plain_and_taught(ledger, GOOD, GOOD, teacher=seen), "teacher_seen")
    assert arm is None
    assert "it scores 97.8% on them and 62.2% on the test images" in message


_, _, CARVED = hold_out(Split(torch.zeros(10, 1, 2, 2), torch.arange(10) % 2), 0.2, "no test/", ["a", "b"])


@pytest.mark.parametrize("teacher", [TeacherInfo(val=0.9, seen=True), TeacherInfo(val=0.9, weights={"net A": "1"})])
@pytest.mark.parametrize(("notes", "told"), [([CARVED], True), (["2 files were left out"], False), (None, False)])
def test_a_teacher_may_have_seen_test_images_that_are_held_out_of_the_training_ones(
    ledger: Ledger, teacher: TeacherInfo, notes: list[str] | None, told: bool
) -> None:
    study = plain_and_taught(ledger, GOOD, GOOD, teacher=teacher, dataset=DatasetInfo(notes=notes))
    ((_, message),) = warned(study, "teacher_seen")
    assert ("the test images are held out of the training images" in message) is told


@pytest.mark.parametrize(
    ("teacher", "told"),
    [
        (TeacherInfo(val=0.9, seen=True), "it scores 90.0% on them; the"),
        (TeacherInfo(seen=True), "validation images; the"),
        (
            TeacherInfo(val=0.9, seen=True, weights={"net A": "1", "net B": "2"}),
            "began with 'net A' and 'net B', which may",
        ),
        (TeacherInfo(val=0.9, seen=False, weights={"net A": "1"}), "(seen: unknown)"),
        (TeacherInfo(val=0.978, test=0.622, seen=False), None),
        (TeacherInfo(val=0.978, test=0.622), None),
    ],
)
def test_what_is_known_of_a_teacher(ledger: Ledger, teacher: TeacherInfo, told: str | None) -> None:
    found = warned(plain_and_taught(ledger, GOOD, GOOD, teacher=teacher), "teacher_seen")
    assert len(found) == (told is not None)
    assert all(str(told) in message for _, message in found)


def test_arms_and_teacher_below_plain_training(ledger: Ledger) -> None:
    plain = Made([(0.90, 0.90), (0.91, 0.91), (0.89, 0.89)])
    low, lower = (Made([(mean - cut, mean - cut) for mean in (0.90, 0.91, 0.89)]) for cut in (0.02, 0.031))
    names = ("none/constant", "none/layerwise", *PAIR)  # the second has no teacher to blame
    answer = answer_of(
        ledger, dict(zip(names, (plain, low, low, lower), strict=True)), {"teacher": TeacherInfo(test=0.85)},
        policies=POLICIES,
    )  # fmt: skip
    ((arm, message),) = warned(answer, "below_plain")
    assert arm is None
    assert "(none/constant), in points: attention/constant by 2.0, attention/layerwise by 3.1;" in message
    ((_, message),) = warned(answer, "teacher_below_plain")
    assert message.startswith("the teacher (85.0% on test) is below plain training of the student (90.0%)")


@pytest.mark.parametrize(
    ("taught", "teacher", "kinds"),
    [
        # d_r -0.02, 0.03, -0.02: mean -0.0033, sd 0.029: chance does as much.
        ([(0.88,), (0.94,), (0.87,)], 0.95, set()),
        # d_r -0.02, 0.00, -0.02: mean -0.0133, standard error 0.0067.
        ([(0.88,), (0.91,), (0.87,)], 0.95, {"below_plain"}),
        ([(0.92,), (0.93,), (0.91,)], 0.95, set()),
        # The plain student: mean 0.90, standard error 0.0058.
        ([(0.92,), (0.93,), (0.91,)], 0.895, set()),
        ([(0.92,), (0.93,), (0.91,)], 0.894, {"teacher_below_plain"}),
        ([(0.92,), (0.93,), (0.91,)], None, set()),
    ],
)
def test_below_plain_is_said_where_it_is_more_than_chance(
    ledger: Ledger, taught: list, teacher: float | None, kinds: set[str]
) -> None:
    plain = Made([(0.90,), (0.91,), (0.89,)])
    answer = plain_and_taught(ledger, plain, Made(taught), teacher=TeacherInfo(test=teacher))
    assert {each.kind for each in answer.warnings} == kinds
    assert {each.arm and each.arm.name for each in answer.warnings if each.kind == "below_plain"} <= {PAIR[0]}


def test_a_controller_that_did_nothing(ledger: Ledger) -> None:
    """A gain of -5e-05: multipliers from 0.99995 to 1.00005."""
    still = Made([(0.9, 0.91)], {GAIN: [-5e-05]}, moves=[5e-05])
    ((arm, message),) = warned(pair(ledger, Made([(0.91, 0.91)]), still), "does_nothing")
    assert arm == "attention/layerwise"
    assert message.startswith("the multipliers stayed at 1, to within 5e-05, in attention/layerwise: what was trained")


@pytest.mark.parametrize(
    ("moves", "gains", "told"),
    [
        ([0.009, 0.2, 0.009], [0.2] * 3, "to within 0.009, in attention/layerwise in 2 of 3 searches:"),
        ([0.2, 0.2, 0.009], [0.2] * 3, None),
        ([0.01, 0.01, 0.01], [0.0] * 3, None),  # what they did counts, not what was asked for
        ([0.0, 0.0, 0.0], [0.2] * 3, "to within 0, in attention/layerwise:"),
        ([None] * 3, [1e-3, -1e-4, 0.0], "to within 0.001, in attention/layerwise:"),
        ([None] * 3, [0.1, 0.1, 0.0], None),
    ],
)
def test_multipliers_that_stay_at_1(ledger: Ledger, moves: list, gains: list, told: str | None) -> None:
    made = Made(GOOD.scores, {GAIN: gains}, moves=moves)
    found = warned(pair(ledger, GOOD, made), "does_nothing")
    assert len(found) == (told is not None)
    assert all(str(told) in message for _, message in found)


def test_arms_of_one_trouble_share_a_warning(ledger: Ledger) -> None:
    still = Made(GOOD.scores, {LR: [0.99] * 3}, moves=[0.0, 1e-4, 0.0])
    arms = ("none/constant", "none/layerwise", *PAIR)
    answer = answer_of(ledger, dict(zip(arms, (GOOD, still) * 2, strict=True)), policies=POLICIES)
    ((arm, message),) = warned(answer, "does_nothing")
    assert arm is None and "to within 0.0001, in none/layerwise, attention/layerwise:" in message
    ((arm, message),) = warned(answer, "edge_of_range")
    picked = "(0.99, 0.99, 0.99)"
    assert arm is None and f" in none/layerwise {picked}, attention/layerwise {picked}; widen" in message


def test_who_is_to_do_nothing_is_not_told_so(ledger: Ledger) -> None:
    made = {"attention/constant": GOOD, "attention/placebo": GOOD, "attention/decay": GOOD}
    assert warned(answer_of(ledger, made, transfers=TAUGHT, policies="constant, placebo, decay"), "does_nothing") == []


@pytest.mark.parametrize(
    ("base_lr", "picked", "told"),
    [
        ("{log: [0.01, 1.0]}", [0.95, 1.0, 0.1], "range log [0.01, 1] in kd/constant in 2 of 3 searches (0.95, 1);"),
        ("{log: [0.01, 1.0]}", [0.01, 0.0105, 0.0109], "the best train.base_lr lies at the lower end, 0.01,"),
        ("{log: [0.01, 1.0]}", [0.01, 1.0, 0.1], None),  # at either end once
        ("{log: [0.01, 1.0]}", [0.95, 0.5, 0.1], None),
        ("{log: [0.01, 1.0]}", [0.9, 0.9, 0.9], None),  # 2.3 % of two decades below the end
        ("{uniform: [0.1, 1.1]}", [1.09, 1.08, 1.1], "range uniform [0.1, 1.1] in kd/constant (1.09, 1.08, 1.1);"),
        ("{choice: [0.1, 1.0]}", [1.0, 1.0, 1.0], None),
        ("{int: [1, 4]}", [4, 4, 4], None),  # every other value is an end
        ("{int: [1, 5]}", [5, 5, 4], "upper end, 5, of its range int [1, 5] in kd/constant in 2 of 3"),
    ],
)  # fmt: skip
def test_best_values_at_the_edge_of_their_range(ledger: Ledger, base_lr: str, picked: list, told: str | None) -> None:
    made = Made(GOOD.scores, {LR: picked})
    answer = answer_of(ledger, {"kd/constant": made}, transfers="kd", base_lr=base_lr)
    found = warned(answer, "edge_of_range")
    assert [arm for arm, _ in found] == ["kd/constant"] * (told is not None)
    assert all(str(told) in message for _, message in found)


def test_a_range_that_begins_at_0_cannot_be_widened_there(ledger: Ledger) -> None:
    made = Made(GOOD.scores, {"train.weight_decay": [0.0, 0.0, 0.0]})
    wide = "0.1, weight_decay: {uniform: [0, 0.1]}"
    assert warned(answer_of(ledger, {"kd/constant": made}, transfers="kd", base_lr=wide), "edge_of_range") == []


def test_arms_that_ran_with_other_weights(ledger: Ledger) -> None:
    """+8.9 points, of which the weight alone is worth 7.4."""
    before, after = Made([(0.70, 0.71, 0.72)], {WEIGHT: [2.7]}), Made([(0.79, 0.80, 0.808)], {WEIGHT: [8.5]})
    answer = pair(ledger, before, after)
    ((arm, message),) = warned(answer, "other_values")
    assert arm == "attention/layerwise"
    assert "(arms.transfers.attention.weight 8.5 against 2.7)" in message
    assert "a study with search.together: [arms.transfers.attention.weight] and sampler: random tells how" in message


@pytest.mark.parametrize(
    ("gain", "values", "study", "paths"),
    [
        (0.05, {}, {}, []),  # better, with the same values
        (0.0, {LR: [0.2] * 3}, {}, []),  # nothing is claimed
        (0.05, {LR: [0.2, 0.1, 0.1], WEIGHT: [3.0] * 3}, {}, [LR]),
        (-0.05, {LR: [0.2, 0.1, 0.1], WEIGHT: [4.0] * 3}, {}, [LR, WEIGHT]),
        # Those of search.together are the same; the others are not.
        (
            0.05, {WEIGHT: [4.0] * 3},
            {"search": "trials_per_arm: 8, sampler: random, together: [train.base_lr]"}, [WEIGHT],
        ),
    ],
)  # fmt: skip
def test_other_values_are_told_where_a_difference_is_claimed(
    ledger: Ledger, gain: float, values: dict, study: dict, paths: list[str]
) -> None:
    constant = Made([(0.7, 0.71), (0.72, 0.71), (0.73, 0.72)])
    layerwise = Made([(0.7 + gain, 0.71 + gain), (0.72 + gain, 0.712 + gain), (0.73 + gain, 0.722 + gain)], values)
    found = warned(pair(ledger, constant, layerwise, **study), "other_values")
    assert len(found) == bool(paths)
    assert all(f"search.together: [{', '.join(paths)}] and" in message for _, message in found)
