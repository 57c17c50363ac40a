"""What the code of users' plug-ins was: a hash of each source file, to tell later that one has changed."""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path


def source_hashes(names: Iterable[str]) -> dict[str, str]:
    """Return the sha256 of every Python file of the modules that plug-ins come from, by its place in the module.

    Only what has been imported is looked at. Installed packages are left out, since the record has their versions.

    Args:
        names: Registered names, which are kdstudy's own, and ``package.module:Name``.

    Returns:
        Keys such as ``mynet.py`` and ``mypackage/blocks.py``; a file that cannot be read is left out.
    """
    tops = {name.partition(":")[0].partition(".")[0] for name in names if ":" in name} - {"kdstudy"}
    found = {}
    for top in sorted(tops):
        for key, file in _files(top):
            try:
                found[key] = hashlib.sha256(file.read_bytes()).hexdigest()
            except OSError:
                continue
    return found


def source_changes(
    recorded: object, names: Iterable[str], *, imported_only: bool = False
) -> dict[str, tuple[str | None, str | None]]:
    """Return the files that are not what they were: the sha256 as recorded, and here; None where there is no such file.

    Args:
        recorded: What `source_hashes` gave; anything else, as in older records, tells nothing, so nothing differs.
        names: As for `source_hashes`; modules that have not been imported are not compared.
        imported_only: Leave out files of a package that have not been imported, which the plug-ins may not need.
    """
    if not isinstance(recorded, Mapping):
        return {}
    here = source_hashes(names)
    tops = {file.partition("/")[0] for file in here}
    files = [file for file in dict.fromkeys([*recorded, *here]) if file.partition("/")[0] in tops]
    changed = [file for file in files if recorded.get(file) != here.get(file)]
    kept = [file for file in changed if _module_of(file) in sys.modules] if imported_only else changed
    return {file: (recorded.get(file), here.get(file)) for file in kept}


def _module_of(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def _files(top: str) -> Iterator[tuple[str, Path]]:
    module = sys.modules.get(top)
    folders = [Path(folder).absolute() for folder in getattr(module, "__path__", ())]
    file = getattr(module, "__file__", None)
    if not folders and file is not None and file.endswith(".py") and not _installed(Path(file)):
        yield f"{top}.py", Path(file)
    for folder in folders:
        if not _installed(folder):
            for each in sorted(folder.rglob("*.py")):
                yield f"{top}/{each.relative_to(folder).as_posix()}", each


def _installed(path: Path) -> bool:
    paths = sysconfig.get_paths()
    homes = [Path(paths[name]) for name in ("purelib", "platlib", "stdlib")]
    return any(path.absolute().is_relative_to(home) for home in homes)
