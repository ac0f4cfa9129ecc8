"""The rendered manifests against the policies of checkov, in an environment of its own: it pins
what ours does not.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.builders.manifests import KUSTOMIZATIONS, Manifest, rendered
from tests.builders.processes import own_environment

pytestmark = pytest.mark.nightly
CHECKOV = "checkov>=3.2.400"
WAIVED = {
    "CKV_K8S_15": "an image of one release does not change, and a pod must start again while the "
    "registry is away",
    "CKV_K8S_43": "an installation names the digest of its own image",
}


def findings(programs: Path, manifests: list[Manifest], folder: Path) -> list[str]:
    """The identifiers of the policies that are not kept, with the resource."""
    file = folder / "manifests.yaml"
    file.write_text(yaml.safe_dump_all(manifests))
    options = [
        "--framework",
        "kubernetes",
        "--output",
        "json",
        "--quiet",
        "--compact",
        "--skip-download",
    ]
    done = subprocess.run(
        [programs / "python", programs / "checkov", "--file", file, *options],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 0
    return [
        f"{each['check_id']} {each['resource']}: {each['check_name']}"
        for each in report["results"]["failed_checks"]
    ]


def test_every_policy_is_kept_or_waived_with_a_reason(tmp_path: Path) -> None:
    programs = own_environment("checkov", CHECKOV)
    whole = [each for name in KUSTOMIZATIONS for each in rendered(name)]
    found = findings(programs, whole, tmp_path)
    assert [each for each in found if each.split()[0] not in WAIVED] == []
    assert {each.split()[0] for each in found} == set(WAIVED)  # nothing is waived that is kept
