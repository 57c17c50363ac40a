"""Files of weights that a model's option ``weights`` names: told from names, and meant from the study file's folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kdstudy.study.plugin_spec import PluginSpec
from kdstudy.study.space import Choice

WEIGHTS = "weights"
"""Option of a model that says which weights it begins with."""
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
"""Ends of names that are paths of files, not names of weights."""


def is_file_name(weights: str) -> bool:
    """Say whether a model's ``weights`` name a file, not published weights."""
    return "/" in weights or weights.endswith(SUFFIXES)


def with_files_at(model: Any, place: Callable[[str], str]) -> Any:
    """Return a model as a study file names it, or a choice of some, its files of weights where they are.

    Args:
        model: A `PluginSpec`, or a `Choice` of them.
        place: From a path as it is written to where it is.
    """
    if isinstance(model, Choice) and model.filled is not None:
        filled = tuple(with_files_at(spec, place) for spec in model.filled)
        return Choice(tuple(spec.to_yaml() for spec in filled), filled) if filled != model.filled else model
    if not isinstance(model, PluginSpec) or WEIGHTS not in model.options:
        return model
    return replace(model, options={**model.options, WEIGHTS: _at(model.options[WEIGHTS], place)})


def _at(weights: Any, place: Callable[[str], str]) -> Any:
    if isinstance(weights, Choice):
        return Choice(tuple(_at(each, place) for each in weights.options))
    return place(weights) if isinstance(weights, str) and is_file_name(weights) else weights
