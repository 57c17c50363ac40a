"""kdstudy: hyper-parameter studies of knowledge distillation with layer-wise learning rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdstudy.student import load_student
    from kdstudy.trust import allow_plugins

__version__ = "0.1.0"
__all__ = ["__version__", "allow_plugins", "load_student"]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: ``import kdstudy`` must not pay for torch."""
    if name == "load_student":
        from kdstudy.student import load_student

        return load_student
    if name == "allow_plugins":
        from kdstudy.trust import allow_plugins

        return allow_plugins
    raise AttributeError(f"module 'kdstudy' has no attribute '{name}'")
