"""The Dockerfile, that of the GPU as well, read by checkov: its instructions are valid, and its
policies are kept.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.builders.processes import own_environment

pytestmark = pytest.mark.nightly

ROOT = Path(__file__).parents[2]
WAIVED = {
    "CKV_DOCKER_7": "a base is an argument, whose default has a tag "
    "(tests/contract/test_dockerfile.py)",
}


def test_every_policy_is_kept_or_waived_with_a_reason(tmp_path: Path) -> None:
    programs = own_environment("checkov", "checkov>=3.2.400")
    options = [
        "--framework",
        "dockerfile",
        "--output",
        "json",
        "--quiet",
        "--compact",
        "--skip-download",
    ]
    done = subprocess.run(
        [programs / "python", programs / "checkov", "--file", ROOT / "Dockerfile", *options],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 100
    assert {each["check_id"] for each in report["results"]["failed_checks"]} == set(WAIVED)
