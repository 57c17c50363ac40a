"""Lists the crucial layers that a study will use, before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from kdstudy.layerwise import LayerPair, layer_groups
from kdstudy.study import Study, TrialConfig
from kdstudy.trial.build import dataset_of, student_spec, teacher_spec
from kdstudy.trial.pairs import layer_pairs, need_of


@final
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
                "student_layout": str(pair.student_layout),
                "teacher": pair.teacher,
                "teacher_shape": list(pair.teacher_shape),
                "teacher_layout": str(pair.teacher_layout),
                "compared": list(pair.grid),
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
        DataError: The data set is not available; its image size decides what matches.
    """
    found: dict[str, Matched] = {}
    for config in study.student_corners():
        key = repr(config.student.model.to_yaml())
        if key not in found:
            found[key] = _match(config)
    return tuple(found.values())


def _match(config: TrialConfig) -> Matched:
    data = dataset_of(config, with_test=False, decoded=False)
    student, teacher = (spec.build(seed=0) for spec in (student_spec(config, data), teacher_spec(config, data)))
    need = need_of(config.transfer, config.policy)
    pairs = layer_pairs(student, teacher, data.image_shape, layers=config.layers, need=need)
    sizes = {name: parameter.numel() for name, parameter in student.named_parameters()}
    groups = layer_groups(student, [pair.student for pair in pairs], data.image_shape)
    counts = tuple(sum(sizes[name] for name in names) for names in groups.values())
    return Matched(config.student.model.to_yaml(), config.teacher.model.to_yaml(), pairs, counts)
