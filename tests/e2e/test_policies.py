"""Dockerfile and manifests keep the policies of checkov, in its own environment."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.builders.manifests import KUSTOMIZATIONS, ROOT, rendered
from tests.builders.processes import own_environment

pytestmark = pytest.mark.nightly
WAIVED = {
    "dockerfile": {"CKV_DOCKER_7": "a base is an argument, whose default has a tag"},
    "kubernetes": {
        "CKV_K8S_15": "an image of one release does not change, and a pod must start again while "
        "the registry is away",
        "CKV_K8S_43": "an installation names the digest of its own image",
    },
}


@pytest.mark.parametrize("framework", WAIVED)
def test_every_policy_is_kept_or_waived_with_a_reason(framework: str, tmp_path: Path) -> None:
    file = ROOT / "Dockerfile"
    if framework == "kubernetes":
        file = tmp_path / "manifests.yaml"
        whole = [manifest for name in KUSTOMIZATIONS for manifest in rendered(name)]
        file.write_text(yaml.safe_dump_all(whole))
    programs = own_environment("checkov", "checkov>=3.2.400")
    options = ("--framework", framework, "--output", "json", "--quiet", "--skip-download")
    done = subprocess.run(
        [programs / "python", programs / "checkov", "--file", file, "--compact", *options],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 100
    failed = {check["check_id"] for check in report["results"]["failed_checks"]}
    assert failed == set(WAIVED[framework])  # nothing is waived that is kept
