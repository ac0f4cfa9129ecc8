"""Every chart and table of a page as a file: the report's figures, drawings that stand alone."""

import csv
import io
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from calibration.drift.state import DriftSettings
from monitoring.drift.tag_settings import TagSettings
from monitoring.errors import QueryInvalid
from monitoring.reports.page_data import PageData, read_page_data
from serving.pages.downloads import DRAWINGS, TABLES, make_download
from serving.pages.model_views import model_page, slices_page
from tests.builders.answers import label, make_card, make_row
from tests.builders.monitored import Clock, MonitoredModel
from tests.integration.monitoring.test_pages import Checker


@pytest.fixture
def found(tmp_path: Path, clock: Clock) -> Iterator[PageData]:
    """A drift with an alarm, tags that would be formulas, and two versions."""
    settings, tags = DriftSettings(average_run_length=50), TagSettings(("site",))
    with MonitoredModel(tmp_path / "ledger.db", clock, settings=settings, tags=tags) as monitored:
        rows = [make_row(number, confidence=0.95, predicted=number % 2) for number in range(200)]
        monitored.serve(*(row._replace(tags='{"site":"=1+1"}') for row in rows))
        monitored.label(*(label(number, "normal") for number in range(150)))
        monitored.recorder.register(make_card(version=2))
        yield read_page_data(monitored.ledger, "pneumonia", version=1)


def rows_of(found: PageData, file: str, of: str | None = None) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(make_download(found, file, of=of).content)))


def test_tables_have_the_figures_of_the_report(found: PageData) -> None:
    report = found.report
    filled = [row for row in rows_of(found, "reliability.csv") if row["n"] != "0"]
    assert [int(row["n"]) for row in filled] == [row.n for row in report.bins if row.n]
    assert float(filled[0]["accuracy"]) == next(row.accuracy for row in report.bins if row.n)
    of_class = rows_of(found, "reliability.csv", of="normal")
    assert sum(int(row["n"]) for row in of_class) == 75
    (day,) = rows_of(found, "days.csv")
    assert (day["answers"], day["labels"], day["coverage"]) == ("200", "150", "0.75")
    assert float(day["signed_gap"]) == pytest.approx(report.measures.signed_gap)
    assert float(day["ece"]) == pytest.approx(report.measures.ece)
    (evidence,) = rows_of(found, "evidence.csv")
    assert (evidence["share"], evidence["alarm"]) == ("1.0", "True")
    measures = {row["measure"]: row for row in rows_of(found, "measures.csv")}
    assert float(measures["ece"]["now"]) == report.measures.ece
    assert float(measures["ece"]["card"]) == report.reference["ece"]
    course = rows_of(found, "course.csv")
    assert (course[0]["from_label"], course[-1]["to_label"]) == ("1", "150")
    assert max(float(row["share"]) for row in course) > 1
    assert [row["true_class"] for row in rows_of(found, "expected-answers.csv")] == [
        "normal",
        "pneumonia",
    ]
    assert [row["version"] for row in rows_of(found, "versions.csv")] == ["2", "1"]
    assert "alarm" in {row["kind"] for row in rows_of(found, "history.csv")}
    assert {row["rate"] for row in rows_of(found, "estimated.csv")} == {
        row.title for row in report.expected_performance.rows()
    }
    assert {row["name"] for row in rows_of(found, "slices.csv")} >= {
        "predicted:normal",
        "true:normal",
    }
    points = report.diagnosis.operating_points
    assert [float(row["value"] or "nan") for row in rows_of(found, "rates.csv")] == pytest.approx(
        [each.rate.estimate for each in points.rates], nan_ok=True
    )
    assert {row["exchange"] for row in rows_of(found, "net-benefit.csv")} >= {"1.0", "99.0"}
    assert len(rows_of(found, "auroc.csv")) == len(points.aurocs)
    (tag,) = rows_of(found, "tags.csv")
    assert (tag["tag"], tag["active"]) == ("site==1+1", "True")


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawings_are_files_of_their_own(found: PageData, name: str) -> None:
    file = make_download(found, f"{name}.svg")
    assert (file.name, file.media_type) == (f"pneumonia-1-{name}.svg", "image/svg+xml")
    svg = ET.fromstring(file.content)
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    assert svg.attrib["aria-label"]
    assert "var(" not in file.content
    assert "href" not in file.content


def test_no_cell_is_a_formula_and_what_is_not_known_is_empty(found: PageData) -> None:
    for name in TABLES:
        cells = [
            cell
            for row in csv.reader(io.StringIO(make_download(found, f"{name}.csv").content))
            for cell in row
        ]
        assert "nan" not in cells
        assert "None" not in cells
        for cell in cells:
            assert not cell.startswith(("=", "@")), (name, cell)


def test_every_link_of_a_page_leads_to_a_file_and_every_file_has_a_link(found: PageData) -> None:
    checker = Checker()
    for page in (model_page(found), slices_page(found)):
        checker.feed(page)
    linked = set()
    for link in checker.links:
        parts = urlsplit(link)
        if "/download/" in parts.path:
            query = parse_qs(parts.query)
            assert (query["version"], query["window"]) == (["1"], ["all"])
            file = parts.path.rsplit("/", 1)[1]
            linked.add(file)
            assert make_download(found, file, of=query.get("class", [None])[0]).content
    assert linked == {*(f"{name}.csv" for name in TABLES), *(f"{name}.svg" for name in DRAWINGS)}


@pytest.mark.parametrize(
    "file", ["", "days", "days.png", "verdict.csv", "../days.csv", "days.csv.svg", "<b>.csv"]
)
def test_what_is_no_file_is_refused_by_name(found: PageData, file: str) -> None:
    with pytest.raises(QueryInvalid, match=r"reliability\.csv"):
        make_download(found, file)


def test_a_class_that_nothing_names_is_refused(found: PageData) -> None:
    with pytest.raises(QueryInvalid, match="'cat'"):
        make_download(found, "reliability.csv", of="cat")


def test_a_model_without_labels_has_tables_but_nothing_to_draw_by_day(
    monitored: MonitoredModel,
) -> None:
    empty = read_page_data(monitored.ledger, "pneumonia")
    assert rows_of(empty, "days.csv") == []
    with pytest.raises(QueryInvalid):
        make_download(empty, "days.svg")
    assert make_download(empty, "reliability.svg").content
