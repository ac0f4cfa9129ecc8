import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from calibration.diagnosis.facts import Cause, Rival, RivalStatus
from calibration.drift.state import DriftSettings
from console.index import index_page
from console.model_views import model_page, slices_page
from console.report_document import report_page
from monitoring.diagnosis.facts import State, StateReason
from monitoring.diagnosis.words import words_of
from monitoring.reports.page_data import PageData, read_page_data, window_since
from monitoring.reports.report import calibration_report
from tests.builders.answers import label, make_card, make_row
from tests.builders.monitored import Clock, MonitoredModel


class Checker(HTMLParser):
    """Every tag is closed in its turn."""

    VOID = frozenset({"meta", "link", "br", "input", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attributes if name in {"src", "href"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    # nothing from elsewhere
    assert all(link.startswith(("/", "data:", "#main")) for link in checker.links)
    assert not "".join(re.findall(r"<script[^>]*>(.*?)</script>", page))  # none of its own inside
    assert "nan" not in re.sub(r"<style>.*?</style>", "", page, flags=re.S).lower()
    return checker


@pytest.fixture
def found(monitored: MonitoredModel) -> PageData:
    monitored.serve(*(make_row(number, confidence=0.5 + number / 250) for number in range(120)))
    monitored.label(
        *(label(number, "pneumonia" if number % 4 else "normal") for number in range(120))
    )
    return read_page_data(monitored.ledger, "pneumonia")


@pytest.fixture
def alarmed(tmp_path: Path, clock: Clock) -> Iterator[PageData]:
    """Two versions; the first drifted, was acknowledged, and drifted again."""
    with MonitoredModel(
        tmp_path / "ledger.db", clock, settings=DriftSettings(average_run_length=50)
    ) as monitored:
        monitored.recorder.promote(monitored.watched_version_id).result()
        for start in (0, 100):
            rows = [make_row(number, confidence=0.95) for number in range(start, start + 60)]
            monitored.serve(
                *(
                    row._replace(tags=f'{{"site":"<{number % 2}>"}}')
                    for number, row in enumerate(rows)
                )
            )
            monitored.label(*(label(number, "normal") for number in range(start, start + 60)))
            if not start:
                monitored.recorder.acknowledge("pneumonia", note="<b>known</b>").result()
        monitored.recorder.register(make_card(version=2))
        yield read_page_data(monitored.ledger, "pneumonia", version=1)


def test_the_page_has_the_verdict_and_renews_itself(found: PageData) -> None:
    page = model_page(found)
    check(page)
    words = words_of(found.report.diagnosis)
    said = unescape(re.sub("</?dfn[^>]*>", "", page))
    assert all(sentence in said for sentence in (words.title, *words.summary))
    assert f"{100 * found.report.measures.ece:.1f} %" in page
    assert "http-equiv" not in page
    assert 'data-live="15"' in page


def test_the_cause_that_a_title_names_is_said_once(alarmed: PageData) -> None:
    """The verdict of a finding said "explained by a changed case mix" twice."""
    found = replace(
        alarmed.report.diagnosis,
        state=State.LOOK,
        reasons=(StateReason.EXPLAINED,),
        rivals=(Rival(Cause.CASE_MIX, RivalStatus.EXPLAINS_ALL),),
    )
    words = words_of(found)
    assert "changed case mix" in words.title
    assert "changed case mix" not in " ".join(words.summary)


def test_the_page_of_an_alarm(alarmed: PageData) -> None:
    page = model_page(alarmed)
    check(page)
    assert 'class="card verdict alarm"' in page
    assert "`" not in page
    assert "&lt;b&gt;known&lt;/b&gt;" in page
    assert "answers with site=&lt;0&gt;" in slices_page(alarmed)
    # two alarms, on two charts, each wide and narrow
    assert page.count('<g class="mark alarm">') == 8
    history = page[page.index('id="history"') :]
    kinds = re.findall(r'<span class="pill">(\w+)</span>', history)
    assert kinds[:5] == ["alarm", "acknowledged", "alarm", "promoted", "started"]  # newest first


def test_the_report_is_one_file_that_prints(alarmed: PageData) -> None:
    page = report_page(alarmed)
    assert check(page).links == ["data:,"]  # an empty icon, so that no browser asks for one
    assert "http-equiv" not in page
    assert "@media print" in page
    assert "size: A4" in page
    assert words_of(alarmed.report.diagnosis).title in unescape(page)


def test_the_report_of_a_month_says_which(monitored: MonitoredModel, clock: Clock) -> None:
    monitored.serve(make_row(1, served_at_ns=clock.now_ns))
    window = window_since("30d", now_ns=clock.now_ns)
    page = report_page(read_page_data(monitored.ledger, "pneumonia", window=window))
    check(page)
    assert "2026-08-23 to 2026-09-21" in page


def test_names_cannot_break_the_page(found: PageData) -> None:
    object.__setattr__(found.report, "model", "<script>alert(1)</script>")
    check(model_page(found))
    check(report_page(found))
    check(index_page([found.report]))


def test_the_index_shows_the_worst_first(found: PageData, tmp_path: Path, clock: Clock) -> None:
    report = found.report
    with MonitoredModel(tmp_path / "other.db", clock) as monitored:
        quiet = calibration_report(monitored.ledger, "pneumonia")
    object.__setattr__(quiet, "model", "aaa")
    object.__setattr__(report, "diagnosis", replace(report.diagnosis, state=State.LOOK))
    page = index_page([quiet, report])
    check(page)
    assert page.index(">pneumonia<") < page.index(">aaa<")
    check(index_page([]))
