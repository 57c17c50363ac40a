"""What a study's record says of its data, its teacher and its run in MLflow, once the study has come so far.

Records of other versions may lack a field or hold further ones; those are kept and given back as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self, final

from kdstudy.ledger.validation import damaged, validate_record


@dataclass(frozen=True)
class RecordPart:
    """Facts that come to be known one after another: None until then. The base of the parts below.

    Args:
        rest: What another version recorded.
    """

    rest: dict[str, Any] = field(default_factory=dict, kw_only=True)

    def to_json(self) -> dict[str, Any]:
        """Return what is known, as it is recorded and printed."""
        known = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "rest"}
        return {**{name: value for name, value in known.items() if value is not None}, **self.rest}

    @classmethod
    def from_json(cls, values: Any, where: str = "record") -> Self:
        """Build from `to_json`'s values.

        Args:
            values: Plain values.
            where: What messages call them.

        Raises:
            RecordError: It is no mapping, or a value is of another type.
        """
        if not isinstance(values, Mapping):
            kind = type(values).__name__
            raise damaged(where, f"a mapping was expected, got {kind}")
        names = {each.name for each in fields(cls)} - {"rest"}
        known = {name: value for name, value in values.items() if name in names}
        rest = {name: value for name, value in values.items() if name not in names}
        return validate_record(cls, {**known, "rest": rest}, where)


@final
@dataclass(frozen=True)
class DatasetInfo(RecordPart):
    """The data set.

    Args:
        name: As the study file spells it.
        fingerprint: Hash of all images and labels, as they were split.
        fingerprints: The same of each split.
        num_classes: Classes, or labels that an image may have.
        multilabel: Whether an image has several labels.
        channels: Of an image.
        height: Of an image, in pixels.
        width: Of an image, in pixels.
        train: Training images, without those for validation.
        val: Validation images.
        test: Test images.
        chance: Score of a network that knows nothing of an image, in [0, 1], by the validation labels; of one label
            the share of the most frequent class, in older records 1 / K.
        classes: Names of the classes in order; empty where they have none.
        place: Folder that the files were found in, or bucket.
        notes: What was left out or made up, as lines.
        verified: Of how many searches every image file was decoded once, before anything was trained.
    """

    name: str | None = None
    fingerprint: str | None = None
    fingerprints: dict[str, Any] | None = None
    num_classes: int | None = None
    multilabel: bool | None = None
    channels: int | None = None
    height: int | None = None
    width: int | None = None
    train: int | None = None
    val: int | None = None
    test: int | None = None
    chance: float | None = None
    classes: list[str] | None = None
    place: str | None = None
    notes: list[str] | None = None
    verified: int | None = None


@final
@dataclass(frozen=True)
class TeacherInfo(RecordPart):
    """The teacher.

    Args:
        key: Name of its folder in the store.
        sha256: Hash of its weights.
        val: Validation score in [0, 1].
        seen: Whether it may have been trained on the validation images.
        epochs: Epochs trained here; 0 for a loaded teacher.
        seconds: Wall time of that training.
        test: Test score in [0, 1], once it was scored.
        weights: Files of weights that the study's networks began with, the teacher's and students': name to sha256.
    """

    key: str | None = None
    sha256: str | None = None
    val: float | None = None
    seen: bool | None = None
    epochs: int | None = None
    seconds: float | None = None
    test: float | None = None
    weights: dict[str, str] | None = None


@final
@dataclass(frozen=True)
class TrackingRef(RecordPart):
    """The study's run in MLflow.

    Args:
        uri: The server or database, without credentials.
        experiment_id: The experiment of the study's name.
        run_id: The study's own run; None before it was opened.
        complete: Whether it has the result of a finished study; None for not yet.
    """

    uri: str | None = None
    experiment_id: str | None = None
    run_id: str | None = None
    complete: bool | None = None
