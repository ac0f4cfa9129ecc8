"""The rules file as Prometheus itself sees it."""

import shutil
import subprocess
from pathlib import Path

import pytest

import monitoring

RULES = Path(monitoring.__file__).parent / "rules"
PROMTOOL = shutil.which("promtool")
pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing: install Debian's package prometheus")


def promtool(*arguments: str) -> None:
    done = subprocess.run([str(PROMTOOL), *arguments], cwd=RULES, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_sound() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", "candor.rules.yml")


def test_the_rules_compute_and_alert_as_they_should() -> None:
    promtool("test", "rules", "candor.rules.test.yml")
