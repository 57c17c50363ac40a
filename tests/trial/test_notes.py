"""What is odd about a study that is run all the same is told: batches without a second step, layers out of order."""

from __future__ import annotations

import pytest

from kdstudy.study import parse_study
from kdstudy.trial import inspect_parts
from tests.tiny import TINY

STUDY = TINY.replace("epochs: 1}", "epochs: 1, batch_size: 64}")


def notes(text: str) -> list[str]:
    found = inspect_parts([config for _, config in parse_study(text).corners()])
    assert not found.faults
    return found.notes


def with_layers(*pairs: tuple[str, str]) -> str:
    return f"{STUDY}layers: [{', '.join(f'[{student}, {teacher}]' for student, teacher in pairs)}]\n"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("batch_size: 32", "batch_size: 5000", "train.batch_size: 5000 is more than the "),
        ("batch_size: 32", "batch_size: {choice: [32, 9000]}", "train.batch_size: 9000 is more than the "),
        ("batch_size: 64", "batch_size: 5000", "teacher.batch_size: 5000 is more than the "),
    ],
)
def test_a_batch_of_more_than_all_images_is_told(old: str, new: str, told: str) -> None:
    (note,) = notes(STUDY.replace(old, new))
    assert note.startswith(told)
    assert note.endswith(" training images, so a batch holds all of them, and an epoch is one step")


def test_a_batch_of_all_images_needs_no_word() -> None:
    images = int(notes(STUDY.replace("batch_size: 32", "batch_size: 5000"))[0].split()[6])
    assert notes(STUDY.replace("batch_size: 32", f"batch_size: {images}")) == []


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ([("layer1", "layer1"), ("layer2", "layer2")], []),
        (
            [("layer3", "layer3"), ("layer1", "layer1")],
            ["layers: taken in the order in which the student runs them: layer1, layer3"],
        ),
        (
            [("layer1", "layer2"), ("layer2", "layer2")],
            ["layers: the teacher's layer2 is the partner of more than one layer"],
        ),
        (
            [("layer1", "layer3"), ("layer2", "layer1")],
            ["layers: the teacher runs layer1 before layer3, their partners in the student the other way round"],
        ),
    ],
)
def test_layers_that_are_named_out_of_order_are_told(pairs: list[tuple[str, str]], told: list[str]) -> None:
    assert notes(with_layers(*pairs)) == told
