"""What to say of a plug-in that cannot be imported."""

from __future__ import annotations

import difflib
from types import ModuleType

from kdstudy.plugins.trust import place_told


def reason(error: BaseException) -> str:
    """Return what a module of somebody else's raised when it was imported, on one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {text}"


def namesake(module: ModuleType | None, name: str) -> str | None:
    """Return that a class or function of nearly this name was meant; None where the module has none."""
    module_name, _, attribute = name.partition(":")
    if module is None or hasattr(module, attribute):
        return None
    public = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
    near = difflib.get_close_matches(attribute, public, n=1)
    return f"did you mean '{module_name}:{near[0]}'?" if near else None


def remedy(error: BaseException, name: str) -> str:
    """Return what to do about a plug-in whose import raised."""
    if isinstance(error, ModuleNotFoundError):
        place = place_told(name.partition(":")[0].partition(".")[0])
        return f"install it, or name its file: --allow-plugin {place or 'DIR/MODULE.py'}"
    if isinstance(error, ImportError | AttributeError):
        return "write package.module:Name of something importable here"
    return "mend its module (--debug shows where it was raised)"
