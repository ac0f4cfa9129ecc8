"""Which tests run in one process of pytest-xdist."""

import re
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

# `browser` is a fixture of tests/e2e/conftest.py, which a file shares, too.
SHARED = re.compile(r'scope="module"|\bbrowser: Browser\b')


@cache
def _shares(file: Path) -> bool:
    return SHARED.search(file.read_text(encoding="utf-8")) is not None


def scope_of(nodeid: str, root: Path) -> str:
    """A test's file if its tests share a fixture, else the test itself."""
    file = nodeid.partition("::")[0]
    return file if _shares(root / file) else nodeid


class SharingScheduling(LoadScopeScheduling):
    """Runs tests that share a fixture in one process, so that it is made once.

    Those of xdist's own `loadgroup` do not: its groups are lost with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid, self.config.rootpath)
