"""A preview of a recalibration is kept nowhere, so its charts and tables are in the links that save
them.
"""

import base64
import csv
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from calibration.bins import BinSums
from calibration.calibrators.remedies import RemedyChoice, Trial
from calibration.diagnosis.facts import AnswerGroup, GroupEffect
from calibration.measures.reliability import reliability
from calibration.measures.summary import Measures
from monitoring.recalibration.preview import RecalibrationPreview
from monitoring.recalibration.proposal import ClassChange
from serving.pages.recalibration_page import recalibration_page


def preview() -> RecalibrationPreview:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 200)
    right = rng.random(200) < confidence - 0.1
    before, after = (
        BinSums.from_predictions(each, right) for each in (confidence, confidence - 0.1)
    )
    trials = (
        Trial("temperature", 1, 0.4, 0.1, 0.01, 0.02),
        Trial("case_mix", 1, np.nan, np.nan, np.nan, np.nan, "a class is missing"),
    )
    return RecalibrationPreview(
        finding="",
        title="tiny 2",
        sentence="A temperature was fitted.",
        changes="No predicted class changes.",
        choice=RemedyChoice(
            "temperature",
            better=None,
            served_nll=0.5,
            served_classwise_gap=0.1,
            trials=trials,
            rows=200,
        ),
        held_out=200,
        before=Measures.from_sums(before),
        after=Measures.from_sums(after),
        served=reliability(before),
        recalibrated=reliability(after),
        classes=[ClassChange("=normal", 100, 0.5, 0.6, 0.7, 0.8, 0.1, 0.0)],
        effects=[GroupEffect(AnswerGroup("tag:site", ("=A",)), 40, 0.01, -0.06, True)],
        notes=[],
    )


def files_of(page: str) -> dict[str, str]:
    link = r'<a href="data:[^;]+(?:;charset=utf-8)?;base64,([^"]+)" download="([^"]+)">'
    found = re.findall(link, page)
    return {name: base64.b64decode(content).decode() for content, name in found}


def test_every_chart_and_table_of_a_preview_is_a_file() -> None:
    shown = preview()
    files = files_of(recalibration_page(shown))
    assert {name.removeprefix("recalibration-") for name in files} == {
        *("as-served.svg", "as-served.csv", "recalibrated.svg", "recalibrated.csv"),
        *("measures.csv", "classes.csv", "subgroups.csv", "remedies.csv"),
    }
    for name, content in files.items():
        if name.endswith(".svg"):
            assert "held-out answers" in ET.fromstring(content).attrib["aria-label"]
            assert "var(" not in content
    rows = {
        name: list(csv.DictReader(io.StringIO(text)))
        for name, text in files.items()
        if name.endswith(".csv")
    }
    assert sum(int(row["n"]) for row in rows["recalibration-as-served.csv"]) == 200
    before, after = rows["recalibration-measures.csv"]
    assert float(before["ece"]) == shown.before.ece
    assert float(after["signed_gap"]) == pytest.approx(shown.before.signed_gap - 0.1)
    (of_class,) = rows["recalibration-classes.csv"]
    assert not of_class["class"].startswith("=")
    assert [row["chosen"] for row in rows["recalibration-remedies.csv"]] == ["True", "False"]
    assert rows["recalibration-remedies.csv"][1]["improvement"] == ""
