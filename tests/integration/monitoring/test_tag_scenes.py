"""One site is off and the others are not: what report, terminal, page and history say."""

import io
import json
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from candor.terminal.report import report_tables
from monitoring.drift.tag_settings import TagSettings
from monitoring.findings.status import Status
from monitoring.reports.page_data import read_page_data
from serving.pages.models import index_page, model_page
from tests.builders.answers import CLASSES, label, make_row
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.processes import PATIENCE_S


def fill(
    monitored: MonitoredModel, *, answers: int = 4_000, share: float = 0.06, gap: float = 0.35
) -> None:
    """A calibrated model, but for a small site: there it is right less often than its confidence
    says.
    """
    rng = np.random.default_rng(7)
    confidence = rng.uniform(0.5, 1.0, answers)
    small = rng.random(answers) < share
    right = rng.random(answers) < confidence - gap * small
    predicted = rng.integers(0, 2, answers)
    sites = np.where(small, "B", np.where(rng.random(answers) < 0.5, "A", "C"))
    rows = zip(range(answers), confidence.tolist(), predicted.tolist(), sites.tolist(), strict=True)
    monitored.serve(
        *(
            make_row(n, confidence=p, predicted=k)._replace(tags=json.dumps({"site": str(site)}))
            for n, p, k, site in rows
        )
    )
    names = np.where(right, predicted, 1 - predicted).tolist()
    monitored.label(*(label(n, CLASSES[name]) for n, name in enumerate(names)))


def said(monitored: MonitoredModel) -> tuple[str, str]:
    found = read_page_data(monitored.ledger, "pneumonia")
    console = Console(width=400, record=True, file=io.StringIO())
    for part in report_tables(found.report):
        console.print(part)
    return console.export_text(), unescape(model_page(found)).replace("<code>", "`").replace(
        "</code>", "`"
    )


def test_an_alarm_of_one_site_alone(tmp_path: Path, clock: Clock) -> None:
    with MonitoredModel(
        tmp_path / "ledger.db", clock, tags=TagSettings(("site", "ward"))
    ) as monitored:
        fill(monitored)
        report = read_page_data(monitored.ledger, "pneumonia").report
        terminal, page = said(monitored)
        assert report.drift is not None
        assert report.tag_watches is not None
        assert not report.drift.active  # the scene: over all answers the small site is too little
        assert [each.tag for each in report.tag_watches.active] == ["site=B"]
        assert report.status is Status.ALARM
        for text in (terminal, page):
            assert (
                "Yes, about answers with site=B: their drift alarm is active, and false alarms "
                "are rare." in text
            )
            assert "The alarm of answers with site=B was raised at their label " in text
            assert "which were right less often than their confidence said" in text
            assert "Find out what changed in answers with site=B around their label " in text
            assert "The alarm of all answers is quiet. A recalibration changes all answers" in text
            assert "Acknowledge the alarm of site=B by itself, with a note" in text
            assert "Recalibrate: `candor recalibrate" not in text
            assert "No answer with a value of ward has a label yet" in text
        assert "Alarm: confidence no longer matches accuracy in answers with site=B" in page
        assert "values past the first 50 share one watch" in page
        assert '{"tag": "site=B"}' in page
        assert "alarm since label" in terminal
        assert "Drift watch by tag" in page
        assert "alarm" in index_page([report])
        history = [(entry["tag"], entry["kind"]) for entry in report.history]
        assert history == [(None, "started"), (None, "tags"), ("site=B", "alarm")]
        json.dumps(report.as_dict(), allow_nan=False)

        monitored.recorder.acknowledge("pneumonia", tag="site=B", note="lens").result(PATIENCE_S)
        after = read_page_data(monitored.ledger, "pneumonia").report
        assert after.status is not Status.ALARM
        assert after.history[-1]["sentence"].startswith(
            "The alarm of answers with site=B was acknowledged after "
        )


def test_a_site_that_alone_raised_the_alarm_of_all_answers(tmp_path: Path, clock: Clock) -> None:
    """Recalibration would change what the other sites get, which is said before it is advised."""
    with MonitoredModel(tmp_path / "ledger.db", clock, tags=TagSettings(("site",))) as monitored:
        fill(monitored, share=0.5, gap=0.35)
        report = read_page_data(monitored.ledger, "pneumonia").report
    assert report.drift is not None
    assert report.drift.active
    assert report.tag_watches is not None
    assert [each.tag for each in report.tag_watches.active] == ["site=B"]
    advice = report.recommendation.what_to_do
    warned = next(
        n
        for n, line in enumerate(advice)
        if line.startswith("A recalibration changes all answers: if only")
    )
    assert warned < next(n for n, line in enumerate(advice) if "candor recalibrate" in line)


@pytest.mark.parametrize("share", [0.0, 0.06])
def test_a_calibrated_model_with_watched_tags_is_calm(
    tmp_path: Path, clock: Clock, share: float
) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock, tags=TagSettings(("site",))) as monitored:
        fill(monitored, share=share, gap=0.0)
        report = read_page_data(monitored.ledger, "pneumonia").report
    assert report.status is Status.OK
    assert report.tag_watches is not None
    assert not report.tag_watches.active
    assert report.drift is not None
    assert report.drift.shares_alarms
