"""No text of the monitoring pages stays English by oversight: all but the sentences of findings are
translated.
"""

import html
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from calibration.drift.state import DriftSettings
from monitoring.drift.tag_settings import TagSettings
from monitoring.pages.downloads import DRAWINGS, make_download
from monitoring.pages.index_page import index_page
from monitoring.pages.language import LANGUAGES, Reader, reading
from monitoring.pages.model_page import model_page
from monitoring.pages.report_page import report_page
from monitoring.reports.page_data import PageData, read_page_data
from monitoring.reports.span import Span
from tests.builders.answers import label, make_card, make_row
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.pseudo_language import speaking_in_brackets, texts_of, untranslated
from tests.builders.scenes import DRAWING, answers, calibrated, card, serve, tell

DAY = 20_717  # of the builders' clock


def drifted(monitored: MonitoredModel) -> PageData:
    """Alarms of all answers and of tags, an acknowledgment, a promotion, and a second version."""
    monitored.recorder.promote(monitored.calibration_id).result()
    for start in (0, 100):
        rows = [make_row(number, confidence=0.95) for number in range(start, start + 60)]
        monitored.serve(
            *(row._replace(tags=f'{{"site":"{number % 2}"}}') for number, row in enumerate(rows))
        )
        monitored.label(
            *(label(number, "normal", source="tester") for number in range(start, start + 60))
        )
        if not start:
            monitored.recorder.acknowledge("pneumonia", note="known").result()
    monitored.recorder.register(make_card(version=2))
    return read_page_data(monitored.ledger, "pneumonia", version=1, span=Span(DAY - 3, DAY + 3))


def new(monitored: MonitoredModel) -> PageData:
    return read_page_data(monitored.ledger, "pneumonia")


def audited(monitored: MonitoredModel) -> PageData:
    given = answers(1_000, calibrated)
    serve(monitored, given, audit=True)
    tell(monitored, [each for each in given if each.drawn])
    return read_page_data(monitored.ledger, "pneumonia", window="days:30")


def quiet(monitored: MonitoredModel) -> PageData:
    """Chosen labels of a calibrated model, of which some are corrected, in a window that moves."""
    given = answers(1_500, calibrated, seed=1)
    serve(monitored, given)
    tell(monitored, given[:900])
    return read_page_data(monitored.ledger, "pneumonia", window="last:500")


SCENES: dict[str, Callable[[MonitoredModel], PageData]] = {
    each.__name__: each for each in (drifted, new, audited, quiet)
}
SETTINGS = {"drifted": DriftSettings(average_run_length=50), "audited": DRAWING}


@pytest.fixture(params=SCENES)
def found(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[PageData]:
    name = request.param
    tags = TagSettings(("site",)) if name == "drifted" else None
    with MonitoredModel(
        tmp_path / "ledger.db",
        clock,
        card=card(),
        settings=SETTINGS.get(name, DriftSettings()),
        tags=tags,
    ) as monitored:
        yield SCENES[name](monitored)


def test_what_is_english_on_a_page_is_a_sentence_of_a_finding(
    found: PageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    english = texts_of(found)
    with speaking_in_brackets(monkeypatch):
        for page in (
            model_page(found, serves=True),
            report_page(found),
            index_page([found.report]),
        ):
            assert untranslated(page, english) == []


def test_drawings_as_files_are_translated(found: PageData, monkeypatch: pytest.MonkeyPatch) -> None:
    if not found.days:
        return
    with speaking_in_brackets(monkeypatch):
        for name in DRAWINGS:
            assert untranslated(make_download(found, f"{name}.svg").content, texts_of(found)) == []


def test_a_text_that_nobody_translated_is_found() -> None:
    page = (
        '<p>⟦read <b>⟦this⟧</b> now⟧</p><p>and this</p><img alt="seen"><i lang="en">Said.</i><i '
        'lang="en">Not.</i>'
    )
    assert untranslated(page, ["It was Said."]) == ["and this", "seen", "Not."]
    headed = '<h2 lang="en">Said.</h2><p class="word"><b lang="en">Said.</b></p>'
    assert untranslated(headed, ["It was Said."]) == ["Said."]


def test_german_has_one_word_for_the_window_of_a_report(found: PageData) -> None:
    with reading(Reader(LANGUAGES[1])):
        pages = [model_page(found, serves=True), report_page(found), index_page([found.report])]
    assert "Zeitraum" in pages[0]
    assert not [page for page in pages if "Fenster" in page]


def test_the_answer_about_accuracy_is_in_the_language_of_the_page(found: PageData) -> None:
    verdict = found.report.accuracy
    assert f'<p class="word">{html.escape(verdict.headline, quote=True)}</p>'.replace(
        "&#x27;", "&#39;"
    ) in model_page(found)
    with reading(Reader(LANGUAGES[1])):
        (said,) = re.findall(r'<p class="word">([^<]*)</p>', model_page(found))[1:2]
    assert said != verdict.headline
    assert not re.search(r"\b(known|accuracy|labels|within)\b", said, re.IGNORECASE)
