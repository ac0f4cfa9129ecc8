"""What docs/tutorials/demo.md says that the demo prints is what it prints, but for the figures."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from calibration.calibrators.remedies import TEMPERATURE_BIAS
from candor.terminal.recalibration import note_lines
from monitoring.findings.recalibration_preview import RecalibrationPreview
from monitoring.recalibration.preview import _changes
from monitoring.recalibration.proposal import Proposal

PAGE = Path(__file__).parents[2] / "docs/tutorials/demo.md"


def masked(line: str) -> str:
    return re.sub(r"\d+", "N", line)


def test_the_note_about_changed_classes_is_printed_so() -> None:
    proposal = cast(
        "Proposal", SimpleNamespace(remedy=TEMPERATURE_BIAS.name, changed=10, held_out=124)
    )
    shown = cast("RecalibrationPreview", SimpleNamespace(changes=_changes(proposal), notes=()))
    (printed,) = note_lines(shown)
    shows = {
        masked(line.strip())
        for line in PAGE.read_text().splitlines()
        if "changes the predicted class" in line
    }
    assert shows == {masked(printed)}
