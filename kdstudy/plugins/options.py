"""What a study file may set of a plug-in: its keyword-only arguments, read from its signature."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Earlier:
    """Marks an option, in its ``Annotated``, that study files of earlier versions wrote in another way.

    Records keep what was written, and the plug-in still takes it; a new study file is refused.

    Args:
        annotation: Type of the values of then. None of them may be one of today's.
        default: What a study file of then that was silent got.
        instead: What to write today, for the message: ``write layers or off``.
    """

    annotation: Any
    default: Any
    instead: str


@dataclass(frozen=True)
class Option:
    """One keyword-only argument of a plug-in.

    Args:
        name: As written in the study file.
        annotation: The type, ``Annotated`` bounds included.
        default: The value taken when the study file is silent; ``inspect.Parameter.empty`` if it may not be.
    """

    name: str
    annotation: Any
    default: Any

    @property
    def earlier(self) -> Earlier | None:
        """How earlier versions wrote it, if in another way."""
        marks = getattr(self.annotation, "__metadata__", ())
        return next((mark for mark in marks if isinstance(mark, Earlier)), None)

    @property
    def required(self) -> bool:
        """Whether the study file must set it."""
        return self.default is inspect.Parameter.empty


def options_of(plugin: Any) -> dict[str, Option]:
    """Return the keyword-only arguments of a class or function.

    Those of a class that ends its arguments in ``**options`` come after those of the class it derives from.

    Raises:
        TypeError: It has no signature, or its annotations name what cannot be found.
    """
    found: dict[str, Option] = {}
    for target in _initialisers(plugin) if inspect.isclass(plugin) else (plugin,):
        try:
            hints = typing.get_type_hints(target, include_extras=True)
        except Exception as error:  # whatever stands in an annotation is evaluated
            raise TypeError(f"its annotations cannot be read: {error}") from error
        own = {
            parameter.name: Option(parameter.name, hints.get(parameter.name, Any), parameter.default)
            for parameter in _parameters(target)
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        found = {**own, **found}
    return found


def plain_arguments(plugin: Any) -> list[inspect.Parameter]:
    """Return the arguments of a class or function that may be given by position, in order."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [parameter for parameter in _parameters(plugin) if parameter.kind in positional]


def require_callable(plugin: Any, passed: Sequence[str], offered: Sequence[str], options: Iterable[str]) -> None:
    """See that a plug-in takes what it is called with, without calling it.

    Args:
        plugin: A class or function.
        passed: Its first arguments, by position.
        offered: Those given by name where it takes them.
        options: Given by name.

    Raises:
        TypeError: It does not, or has no signature.
    """
    taken = {parameter.name for parameter in plain_arguments(plugin)} & {*offered}
    signature = inspect.Signature(_parameters(plugin))
    signature.bind(*passed, **dict.fromkeys((*taken, *options)))


def given_to(plugin: Any, passed: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return with what a plug-in is called that may take fewer arguments than there are.

    By position where it demands as many, whatever it calls them; else by name, those that it names.

    Args:
        plugin: A class or function.
        passed: Name and value of each argument, in order.
    """
    plain = plain_arguments(plugin)
    demanded = [each.name for each in plain if each.default is inspect.Parameter.empty]
    if any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in _parameters(plugin)):
        return tuple(passed.values()), {}
    if len(demanded) == len(passed) and {*demanded} != {*passed}:
        return tuple(passed.values()), {}
    return (), {each.name: passed[each.name] for each in plain if each.name in passed}


def declaration(name: str, default: Any = inspect.Parameter.empty) -> str:
    """Return how an option of this name is declared: with the type of its default, or an example's."""
    example = 16 if default in (inspect.Parameter.empty, None) else default
    return f"{name}: {type(example).__name__} = {example!r}"


def _parameters(plugin: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(plugin).parameters.values())
    except ValueError as error:
        raise TypeError(str(error)) from error


def _initialisers(plugin: type) -> Iterator[Any]:
    """Yield what takes a class's arguments: its ``__init__``, and the next one's while ``**options`` are passed on."""
    for owner in plugin.__mro__:
        if "__init__" in vars(owner):
            yield vars(owner)["__init__"]
            parameters = inspect.signature(vars(owner)["__init__"]).parameters.values()
            if not any(
                parameter.name == "options" and parameter.kind is parameter.VAR_KEYWORD for parameter in parameters
            ):
                return
