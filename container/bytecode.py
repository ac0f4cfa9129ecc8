"""Compile every module that Candor imports, and no other: a read-only image cannot keep bytecode by
itself.

    python container/bytecode.py ROOM...

PYTHONPYCACHEPREFIX says where to. The result depends on the sources alone: it holds their hash and
not their time.
"""

import importlib
import pkgutil
import py_compile
import sys
from pathlib import Path

NOT_MODULES = ("__main__", "versions")  # they act when they are imported


def import_all(room: str) -> None:
    """Import a package and what is in it, except where an extra is missing in this image."""
    for found in pkgutil.walk_packages(importlib.import_module(room).__path__, f"{room}."):
        if not any(part in NOT_MODULES for part in found.name.split(".")):
            try:
                importlib.import_module(found.name)
            except ModuleNotFoundError as error:
                print(f"{found.name}: not compiled, {error}", file=sys.stderr)


def compile_imported() -> int:
    """Compile the source of every module that is loaded; returns how many there are."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    there = {
        file for file in files if file is not None and Path(file).is_file()
    }  # torch makes modules without one
    sources = sorted(file for file in there if file.endswith(".py") and file != __file__)
    for source in sources:
        py_compile.compile(
            source, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
    return len(sources)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    for name in sys.argv[1:]:
        import_all(name)
    print(f"{compile_imported()} modules compiled", file=sys.stderr)
