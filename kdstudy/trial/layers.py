"""The crucial layers that a study will use: what is paired with what, and the shapes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from kdstudy.layerwise import LayerPair, layer_groups, match_layers
from kdstudy.models import build_model, trace
from kdstudy.study import Study, TrialConfig
from kdstudy.trial.build import dataset_of


@dataclass(frozen=True)
class Matched:
    """The pairs of one student and the teacher.

    Args:
        student: The student's network, as the study file writes it.
        teacher: The teacher's.
        pairs: In the student's order.
        parameters: Of the student, that learn at each pair's rate; the head's last.
    """

    student: Any
    teacher: Any
    pairs: tuple[LayerPair, ...]
    parameters: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        layers = [
            {
                "student": pair.student,
                "student_shape": list(pair.student_shape),
                "teacher": pair.teacher,
                "teacher_shape": list(pair.teacher_shape),
                "parameters": count,
            }
            for pair, count in zip(self.pairs, self.parameters, strict=False)
        ]
        head = self.parameters[-1]
        return {"student": self.student, "teacher": self.teacher, "layers": layers, "head_parameters": head}


def matched_layers(study: Study) -> tuple[Matched, ...]:
    """Match the crucial layers of every student that the study may build with the teacher's.

    Args:
        study: Read for its data, teacher, student and layers; nothing is trained.

    Raises:
        ModelError: A network cannot be built, no layers match, or a named one does not exist.
        DataError: The data set is not to be had; its image size decides what matches.
    """
    found: dict[str, Matched] = {}
    for config in _students(study):
        key = repr(config.student.model.to_yaml())
        if key not in found:
            found[key] = _match(config)
    return tuple(found.values())


def _students(study: Study) -> list[TrialConfig]:
    """Return a trial of the first arm for each end of the student's ranges, other ranges at the first."""
    arm = study.arms[0]
    ends = {
        path: hole.ends() if path.startswith("student.") else hole.ends()[:1] for path, hole in study.space(arm).items()
    }
    return [
        study.config(arm.name, dict(zip(ends, values, strict=True)), data_seed=0, init_seed=0)
        for values in product(*ends.values())
    ]


def _match(config: TrialConfig) -> Matched:
    data = dataset_of(config, with_test=False)
    student, teacher = (
        build_model(
            model.name,
            model.options,
            num_classes=data.num_classes,
            image_shape=data.image_shape,
            mean=data.mean,
            std=data.std,
            seed=0,
        )
        for model in (config.student.model, config.teacher.model)
    )
    pairs = match_layers(trace(student, data.image_shape), trace(teacher, data.image_shape), config.layers)
    sizes = {name: parameter.numel() for name, parameter in student.named_parameters()}
    groups = layer_groups(student, [pair.student for pair in pairs], data.image_shape)
    counts = tuple(sum(sizes[name] for name in names) for names in groups.values())
    return Matched(config.student.model.to_yaml(), config.teacher.model.to_yaml(), pairs, counts)
