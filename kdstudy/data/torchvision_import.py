"""The one place that imports torchvision.

torchvision registers fake kernels for two operators of its native library when it is imported, and fails
where that library cannot be loaded: beside a torch without CUDA, if its own build expects CUDA. kdstudy uses
none of those operators, so declaring the two is enough. Where the library does load, it declares them itself,
and a second declaration is an error; hence the library is tried first, exactly as torchvision tries it a
moment later.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from importlib.util import find_spec
from types import ModuleType

from kdstudy.errors import DataError

LIBRARIES = ("_C_stable", "_C")  # since torchvision 0.29, and before
OPERATORS = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_torchvision() -> ModuleType:
    """Return torchvision, with or without its native library.

    Raises:
        DataError: torchvision is not installed.
    """
    if "torchvision" not in sys.modules and not native_library_loads():
        import torch

        for name in OPERATORS:
            torch.library.define(f"torchvision::{name}", SCHEMA)
    return importlib.import_module("torchvision")


def native_library_loads() -> bool:
    """Try to load torchvision's operators, without importing torchvision; return whether that succeeded.

    Raises:
        DataError: torchvision is not installed.
    """
    import torch

    spec = find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("torchvision: is not installed; run 'pip install torchvision' for this torch")
    folder = spec.submodule_search_locations[0]
    finder = FileFinder(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES))
    library = next(filter(None, map(finder.find_spec, LIBRARIES)), None)
    if library is None or library.origin is None:
        return False
    try:
        torch.ops.load_library(library.origin)
    except OSError:
        return False
    return True
