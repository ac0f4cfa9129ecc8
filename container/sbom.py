"""Join the Python packages of an image, those of its Debian or Ubuntu, and Python, which official
images build from source, into one bill of materials (CycloneDX).

python container/sbom.py PYTHON_SBOM DPKG_STATUS > SBOM
"""

import json
import platform
import sys
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from typing import Any
from urllib.parse import quote


def system_packages(status: str) -> Iterator[dict[str, Any]]:
    """The installed packages of a dpkg status file, as components."""
    for paragraph in status.split("\n\n"):
        fields = HeaderParser().parsestr(paragraph)
        if fields["Status"] != "install ok installed":
            continue
        name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
        purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={architecture}"
        yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def interpreter() -> dict[str, Any]:
    """The Python that runs this, as a component."""
    version = platform.python_version()
    purl = f"pkg:generic/python@{version}"
    return {
        "type": "application",
        "bom-ref": purl,
        "name": "python",
        "version": version,
        "purl": purl,
        "cpe": f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*",
    }


def joined(python: dict[str, Any], status: str) -> dict[str, Any]:
    """The bill of materials `python` with Python and the system's packages added."""
    more = [interpreter(), *system_packages(status)]
    return python | {"components": [*python["components"], *more]}


if __name__ == "__main__":
    print(
        json.dumps(
            joined(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]).read_text()),
            indent=1,
        )
    )
