"""How a student learns from its teacher, as Python says it: the part of a study file that makes an arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, final

from annotated_types import MinLen

from kdstudy.errors import StudyError
from kdstudy.study.build import build
from kdstudy.study.diagnostics import Place, Problems
from kdstudy.study.fields import Key
from kdstudy.study.plugin_spec import PluginSpec, plain
from kdstudy.study.schema import LayerPairs
from kdstudy.study.validate import Reader


@final
@dataclass(frozen=True)
class Method:
    """What decides how a student learns from a teacher.

    Args:
        transfer: The transfer method.
        policy: The learning-rate policy.
        layers: ``auto``, or pairs (student layer, teacher layer).
    """

    transfer: Annotated[PluginSpec, Key("The transfer method.", "attention", plugin="transfer")]
    policy: Annotated[PluginSpec, Key("The learning-rate policy.", "constant", plugin="policy")]
    layers: Annotated[
        Literal["auto"] | Annotated[LayerPairs, MinLen(1)], Key("Crucial layers.", [["layer1", "layer1"]])
    ]


def method_of(values: Mapping[str, Any], where: str) -> Method:
    """Read and check what a caller in Python writes as in a study file, its plug-ins' defaults filled in.

    Args:
        values: ``transfer``, ``policy`` and ``layers``.
        where: What messages call it.

    Raises:
        StudyError: It is wrong; one line per problem, all of them.
    """
    problems = Problems(where)
    reader = Reader(problems, refusal="one training takes one value")
    parsed = reader.section(Method, {key: plain(value) for key, value in values.items()}, Place())
    if problems:
        raise StudyError(problems.told()) from problems.cause
    return build(Method, parsed)
