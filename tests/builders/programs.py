"""Programs of the machine that tests run, where they are, and which of Debian's packages has each.

A test that lacks one is skipped, and the last line of the run says which command installs all that
was lacking (tests/conftest.py). Where REQUIRE_PROGRAMS is set, as the gate does, such a test fails.

python3 tests/builders/programs.py    prints the packages of all tests; it needs Python alone
"""

import os
import re
import shutil
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

PACKAGES: Final = {
    "chromium": "chromium",
    "curl": "curl",
    "git": "git",
    "haproxy": "haproxy",
    "ip": "iproute2",
    "java": "default-jre-headless",  # TorchServe's, 17 or later
    "netavark": "netavark",
    "node": "nodejs",
    "openssl": "openssl",
    "amtool": "prometheus-alertmanager",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "podman": "podman",
    "initdb": "postgresql",
    "pg_dump": "postgresql",
    "psql": "postgresql",
    "runc": "runc",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
REQUIRED: Final = "REQUIRE_PROGRAMS"
_OTHER_NAMES: Final = {"chromium": ("chromium-browser", "google-chrome")}
_OTHER_PLACES: Final = ("/usr/sbin", "/usr/lib/podman")
_LACKING: Final = re.compile(r"not on this machine: (.*)")


@cache
def find(program: str) -> Path | None:
    """Where a program is; CHROMIUM may name that one."""
    if program == "chromium" and "CHROMIUM" in os.environ:
        return Path(os.environ["CHROMIUM"])
    databases = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    places = os.pathsep.join([os.environ["PATH"], *_OTHER_PLACES, *map(str, databases)])
    names = (program, *_OTHER_NAMES.get(program, ()))
    return next((Path(found) for name in names if (found := shutil.which(name, path=places))), None)


def need(*programs: str) -> Path:
    """Where the first of these programs is. Skips the test that runs, or fails it, if this machine
    lacks one.
    """
    import pytest

    lacking = [program for program in programs if find(program) is None]
    if lacking and os.environ.get(REQUIRED):
        pytest.fail(f"{REQUIRED} is set. {install_command(lacking)}", pytrace=False)
    if lacking:
        pytest.skip(f"not on this machine: {' '.join(lacking)}")
    found = find(programs[0])
    assert found is not None
    return found


def summary(reasons: Iterable[str]) -> str | None:
    """What was not tested, and how it will be, of the reasons of all skipped tests.

    >>> summary(["Skipped: not on this machine: psql pg_dump", "Skipped: not on this machine: ip"])
    '2 tests lack programs (ip, pg_dump, psql): apt-get install iproute2 postgresql'
    >>> summary(["Skipped: needs the folder CANDOR_DATA"])
    """
    found = [match[1].split() for reason in reasons if (match := _LACKING.search(reason))]
    if not found:
        return None
    lacking = sorted({program for programs in found for program in programs})
    tests = f"{len(found)} {'test lacks' if len(found) == 1 else 'tests lack'} programs"
    return f"{tests} ({', '.join(lacking)}): {install_command(lacking)}"


def install_command(programs: Iterable[str]) -> str:
    """The command that installs programs on Debian."""
    return f"apt-get install {' '.join(sorted({PACKAGES[each] for each in programs}))}"


if __name__ == "__main__":
    sys.stdout.write("\n".join(sorted({*PACKAGES.values()})) + "\n")
