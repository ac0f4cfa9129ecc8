"""Findings in the ledger: a row for each image and finding, partial labels, shared alarms."""

import csv
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize
from uuid import UUID

import httpx
import numpy as np
import pytest
from sqlalchemy import event

from calibration.drift.state import DriftSettings
from console.report_document import report_values
from monitoring.diagnosis.answer_record import find_answer_record
from monitoring.drift import watch
from monitoring.drift.source_change import change_sources
from monitoring.drift.tag_settings import TagSettings
from monitoring.feedback import FeedbackItem
from monitoring.ledger.predictions import finding_id
from monitoring.ledger.version_events import shadow_id
from monitoring.ledger.versions import FINDINGS_SHOWN, load, within_bound
from monitoring.maintenance.erasure import forget
from monitoring.maintenance.export import export
from monitoring.maintenance.recount import check, repair
from monitoring.maintenance.retention import prune
from monitoring.reports.findings import findings_report
from monitoring.sources import LabelPolicy
from tests.builders.answers import DAY_NS, NOW_NS, make_card, make_row, prediction_id
from tests.builders.findings import FINDINGS, findings_card
from tests.builders.monitored import Clock, MonitoredModel, client_of
from tests.builders.processes import candor_here

pytestmark = pytest.mark.world(card=findings_card())
USUAL = [0.7, 0.2, 0.05]
REPORT = "/models/chest/report"
quick = pytest.mark.world(settings=DriftSettings(average_run_length=1_000))


@pytest.fixture
def chest(monitored: MonitoredModel) -> MonitoredModel:
    """A ledger that agrees with its recount, with one image."""
    monitored.serve_findings([0], USUAL)
    return monitored


def read(number: int, **labels: str) -> FeedbackItem:
    return FeedbackItem("", prediction_id(number), findings=labels)


def by_request(request_id: str, **labels: str) -> FeedbackItem:
    return FeedbackItem("", None, "chest", request_id, findings=labels)


def named(number: int) -> str:
    return str(UUID(bytes=prediction_id(number)))


def counts(monitored: MonitoredModel) -> list[tuple[int, int, int]]:
    """Answers, labels and positives by finding, of a ledger that agrees with its recount."""
    counted = check(monitored.ledger)
    assert counted.agrees, counted.differences
    sums = [monitored.sums(key) for key in monitored.watched_version_ids]
    return [
        (int(each.served.sum()), int(each.labeled.n.sum()), int(each.labeled.correct.sum()))
        for each in sums
    ]


def test_a_label_says_something_of_its_finding_alone(chest: MonitoredModel) -> None:
    chest.serve_findings([1, 2], USUAL)
    assert chest.label(read(0, Edema="present", Mass="absent"), read(1, Edema="absent")) == (
        ["accepted"] * 2
    )
    assert counts(chest) == [(3, 2, 1), (3, 0, 0), (3, 1, 0)]  # missing is not negative
    # the claim is that of presence, also below one half
    served = [chest.sums(key).served_confidence.sum() for key in chest.watched_version_ids]
    np.testing.assert_allclose(served, [2.1, 0.6, 0.15], atol=1e-6)
    again = read(0, Edema="absent", Effusion="absent", Mass="absent")
    (result,) = chest.recorder.feedback([again]).result()
    assert (result.status, result.prediction_id) == ("corrected", prediction_id(0))
    assert result.findings == dict(
        zip(FINDINGS, ("corrected", "accepted", "unchanged"), strict=True)
    )
    assert counts(chest) == [(3, 2, 0), (3, 1, 0), (3, 1, 0)]
    series = ("predictions_total", "feedback_total", "calibration_drift_log_threshold")
    values = [[chest.metric(name, finding=each) for each in FINDINGS] for name in series]
    assert values == [[3] * 3, [2, 1, 1], pytest.approx([np.log(3e5)] * 3)]


def test_uncertain_is_kept_and_feeds_nothing(chest: MonitoredModel) -> None:
    for said, status, labels in (
        *(("uncertain", "uncertain", 0), ("uncertain", "unchanged", 0)),
        *(("present", "accepted", 1), ("uncertain", "uncertain", 1)),  # a reader decided
    ):
        assert chest.label(read(0, Edema=said)) == [status]
        assert counts(chest)[0] == (1, labels, labels)
    kept = chest.rows("SELECT label, counts_as FROM feedback ORDER BY feedback_id")
    assert kept == [(-1, 4), (1, 0), (-1, 4)]
    change_sources(chest.ledger, "chest", {"": LabelPolicy.PROXY})
    assert check(chest.ledger).agrees


def test_what_does_not_fit_is_refused_as_a_whole(chest: MonitoredModel) -> None:
    chest.recorder.register(make_card())
    chest.serve(make_row(9, watched_version_id=chest.watched_version_ids[-1] + 1))
    refused = [
        (read(0, Edema="present", Oedema="present"), "FindingUnknown"),
        (FeedbackItem("present", prediction_id(0)), "FindingNeeded"),
        (read(9, Edema="present"), "FindingUnknown"),
        (read(5, Edema="present"), None),
        (by_request("early", Oedema="present"), "FindingUnknown"),
        (FeedbackItem("present", None, "chest", "early"), "FindingNeeded"),
    ]
    results = chest.recorder.feedback([item for item, _ in refused]).result()
    causes = [result.cause and result.cause.__name__ for result in results]
    assert causes == [cause for _, cause in refused]
    assert results[3].status == "unknown"
    assert counts(chest) == [(1, 0, 0)] * 3


def test_labels_wait_for_their_image(monitored: MonitoredModel) -> None:
    early = by_request("scan-1", Edema="present", Mass="absent")
    assert monitored.label(early, early) == ["pending"] * 2
    monitored.serve_findings([0, 1], USUAL, request_id="scan-1")
    assert counts(monitored) == [(2, 1, 1), (2, 0, 0), (2, 1, 0)]
    assert monitored.label(by_request("scan-1", Effusion="absent")) == ["accepted"]
    found = monitored.recorder.recorded(monitored.watched_version_ids, ["scan-1"]).result()
    assert list(found) == [prediction_id(1), prediction_id(0)]
    assert [row.confidence for row in found[prediction_id(0)]] == USUAL
    assert finding_id(found[prediction_id(0)][2].prediction_id, "Mass") == prediction_id(0)


def test_a_shadow_gets_the_labels_of_the_sent_answer(chest: MonitoredModel) -> None:
    sent, second = chest.watched_version_ids, chest.recorder.register(findings_card(version=2))
    for ids in (sent, sent, second):  # a promotion replaces all findings, once
        chest.recorder.promote(*ids).result()
    promoted = chest.rows("SELECT watched_version_id FROM monitor_event WHERE kind = 'promoted'")
    assert sorted(key for (key,) in promoted) == sorted((*sent, *second))
    chest.recorder.shadow(*second).result()
    chest.watched_version_ids = second
    chest.serve_findings([0], [0.6, 0.1, 0.01], prediction_id=shadow_id(prediction_id(0)))
    assert chest.label(read(0, Edema="present")) == ["accepted"]
    for chest.watched_version_ids in (second, sent):
        assert counts(chest) == [(1, 1, 1), (1, 0, 0), (1, 0, 0)]


@pytest.mark.world(tags=TagSettings(("site",)))
def test_findings_share_the_false_alarms(monitored: MonitoredModel) -> None:
    monitored.serve_findings([0], USUAL, tags='{"site": "A"}')
    monitored.label(read(0, Edema="present"))
    with monitored.ledger.read() as connection:
        whole, of_site, *others = (
            each
            for key in monitored.watched_version_ids
            for each in watch.load_all(connection, key)
        )
    settings = [each.settings for each in (whole, *others)]
    assert [each.part for each in settings] == pytest.approx([1 / 6] * 3)
    assert {each.class_count for each in settings} == {0}
    assert (of_site.name, of_site.settings.part) == ("tag:site=A", pytest.approx(1 / 6))
    assert check(monitored.ledger).agrees


def test_a_report_reads_no_more_than_this_for_each_finding(monitored: MonitoredModel) -> None:
    monitored.serve_findings(range(20), [0.1, 0.1, 0.9])
    monitored.label_findings(range(20), np.ones((20, 3), bool))
    said: list[Any] = []
    event.listen(monitored.ledger._engine, "before_cursor_execute", lambda *on: said.append(on))
    overview = findings_report(monitored.ledger, "chest")
    assert len(said) <= 38 * len(FINDINGS)
    first, *others = overview.findings
    broken = replace(first, since_s=1e9, elsewhere=first.measures)
    values = report_values(replace(overview, findings=(broken, *others)))
    assert "affected" in values["period"]
    marked = ["affected" in line.figures["calibration error (ECE)"] for line in values["lines"]]
    assert marked == [True, False, False]


def test_export_erasure_pruning_and_repair_take_images_whole(
    chest: MonitoredModel, clock: Clock, tmp_path: Path
) -> None:
    chest.serve_findings([1], USUAL)
    chest.label(read(0, Edema="present", Mass="uncertain"), read(1, Edema="absent"))
    assert export(chest.ledger, tmp_path / "all.csv") == 6
    with (tmp_path / "all.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["prediction_id"] == named(0)]
    assert {row["finding"]: float(row["confidence"]) for row in rows} == pytest.approx(
        dict(zip(FINDINGS, USUAL, strict=True))
    )
    erased = forget(chest.ledger, prediction_id=prediction_id(0))
    assert (erased.answers, erased.labels) == (1, 2)
    assert counts(chest) == [(1, 1, 0), (1, 0, 0), (1, 0, 0)]
    clock.now_ns = NOW_NS + 3 * DAY_NS
    chest.serve_findings([2], USUAL, prediction_id=prediction_id(2, at_ns=clock()))
    assert prune(chest.ledger, older_than_s=2 * 86_400).answers == 3
    assert chest.label(read(1, Edema="present")) == ["expired"]
    assert repair(chest.ledger).agrees


PRESENT, ABSENT, NOTHING = (1, 1), (1, 0), (0, 0)
WRITTEN: list[tuple[dict[str, Any] | str, list[tuple[int, int]] | None]] = [
    ({"labels": {"Edema": 1, "Effusion": 0, "Mass": None}}, [PRESENT, ABSENT, NOTHING]),
    ({"labels": {"Edema": True, "Mass": "absent"}}, [PRESENT, NOTHING, ABSENT]),
    ({"labels": {"Edema": -1, "Mass": "-1.0"}}, [NOTHING] * 3),
    ({"label": "Edema|Mass", "looked_for": "*"}, [PRESENT, ABSENT, PRESENT]),
    ({"label": "Edema", "looked_for": "Edema|Mass"}, [PRESENT, NOTHING, ABSENT]),
    ({"label": "No Finding", "looked_for": "*"}, [ABSENT] * 3),
    ("Edema,Effusion,Mass\n{id},1.0,,0.0\n", [PRESENT, NOTHING, ABSENT]),
    ("label,looked_for\n{id},Edema|Mass,*\n", [PRESENT, ABSENT, PRESENT]),
    ("label,looked_for\n{id},,*\n", [ABSENT] * 3),
    ("label,looked_for\n{id},Edema,\n", [NOTHING] * 3),
    ({"label": "Edema", "looked_for": " "}, [NOTHING] * 3),
    *(
        (refused, None)
        for refused in (
            *({"labels": {"Edema": each}} for each in (2, "maybe")),
            {"labels": {"Edema": 1}, "label": "Edema"},
            {"label": "Edema|Mass", "looked_for": "Edema"},
            *({"label": "Edema|Mass"}, {"looked_for": "Oedema"}, {}),
        )
    ),
]


@pytest.mark.anyio
async def test_labels_are_read_as_people_write_them_or_refused(
    monitored: MonitoredModel, client: httpx.AsyncClient
) -> None:
    monitored.serve_findings(range(len(WRITTEN)), USUAL)
    before = np.zeros((3, 2), int)
    for number, (body, expected) in enumerate(WRITTEN):
        if isinstance(body, str):
            table = "prediction_id," + body.format(id=named(number))
            sent: dict[str, Any] = {"content": table, "headers": {"Content-Type": "text/csv"}}
        else:
            sent = {"json": {"prediction_id": named(number)} | body}
        answer = await client.post("/feedback", **sent)
        assert answer.status_code == (422 if expected is None else 200), body
        assert "rejected" not in answer.text
        now = np.array([each[1:] for each in counts(monitored)])
        assert (now - before).tolist() == [list(each) for each in expected or [NOTHING] * 3], body
        before = now


@pytest.mark.anyio
@pytest.mark.parametrize("form", ["NFC", "NFD"])
async def test_the_form_of_accents_does_not_matter(
    tmp_path: Path, form: Literal["NFC", "NFD"]
) -> None:
    here = normalize(form, "Œdème")
    there = normalize("NFC" if form == "NFD" else "NFD", here)
    card = findings_card((here, "Mass"))
    with MonitoredModel(tmp_path / "ledger.db", Clock(), card=card) as chest:
        chest.serve_findings([0], [0.7, 0.2])
        async with client_of(chest) as client:
            sent = {"prediction_id": named(0), "labels": {there: 1}}
            answer = await client.post("/feedback", json=sent)
            assert answer.json()["findings"] == {here: "accepted"}
            for path in ("report", "report/slices", "report/history"):
                found = await client.get(f"/models/chest/{path}", params={"finding": there})
                assert found.status_code == 200, found.text
            declared = {"model": "far", "findings": {here: 0.4}}
            assert (await client.post("/models-log", json=declared)).status_code == 200
            logged = {"model": "far", "request_id": "a", "findings": {there: 0.6}}
            answer = await client.post("/predictions-log", json=logged | {"labels": {there: 0}})
            assert answer.json()["feedback"] == "accepted"


def words_in(page: str) -> set[str]:
    """The words that a page shows, titles and names of pictures among them."""
    shown = re.sub(r"<(style|script).*?</\1>", " ", page, flags=re.DOTALL)
    titles = re.findall(r'(?:aria-label|title)="([^"]*)"', shown)
    return set(re.findall(r"[a-z]+", " ".join([re.sub(r"<[^>]*>", " ", shown), *titles]).lower()))


@quick
@pytest.mark.anyio
async def test_reports_pages_and_acts_are_by_finding(
    monitored: MonitoredModel, client: httpx.AsyncClient, ledger_url: str
) -> None:
    monitored.serve_findings(range(150), [0.1, 0.1, 0.9])
    monitored.label(*(read(number, Effusion="present", Mass="present") for number in range(150)))

    async def get(path: str, status: int = 200, **params: str) -> Any:
        answer = await client.get(path, params=params or None)
        assert answer.status_code == status, answer.text
        return answer.json() if "json" in answer.headers["content-type"] else answer.text

    overview = (await get(REPORT))["findings"]
    assert overview[0]["finding"] == "Effusion"
    assert [each["coverage"]["labeled"] for each in overview] == [150, 150, 0]
    one = await get(REPORT, finding="Effusion")
    assert (one["finding"], one["drift"]["active"]) == ("Effusion", True)
    assert one["measures"]["accuracy"] == 1.0
    active = [monitored.replayed("", key).active for key in monitored.watched_version_ids]
    assert active == [False, True, True]
    for path in (f"{REPORT}/slices", f"{REPORT}/sources"):
        assert (await get(path, 422))["error"] == "finding_needed"
        await get(path, finding="Mass")
    assert (await get(REPORT, 422, finding="Oedema"))["error"] == "unknown_finding"
    summaries = (await get("/reports"))["models"]
    assert sorted(each["finding"] for each in summaries) == sorted(FINDINGS)
    for path in ("/", f"{REPORT}/page", "/label/chest"):
        assert "Effusion" in await get(path)
    for path in (f"{REPORT}/page", "/slices/chest", "/report/chest", "/models/chest/answers/page"):
        shown = await get(path, finding="Effusion")
        strange = {"accuracy", "class", "classes", "confidence", "overconfidence"}
        assert words_in(shown) & strange == set()
    page = await get(f"{REPORT}/page", finding="Effusion")
    assert "Expected share present" in page
    assert "Probability minus share present" in page
    note = {"note": "new probe"}
    done = (await client.post(f"{REPORT}/acknowledge?finding=Effusion", json=note)).json()
    assert (done["finding"], done["drift"]["active"]) == ("Effusion", False)
    filed = await get("/report/chest")
    assert re.search(r"Effusion: [^<]*acknowledged[^<]*new probe", filed)
    assert filed.count("promoted to production") <= 1
    which = ("--ledger", ledger_url, "--finding", "Mass", "--note", "new probe")
    at_terminal = candor_here("ledger", "acknowledge", "chest", *which)
    assert at_terminal.stdout == "chest: Mass version 1: the watch starts again\n"
    form = {"prediction_id": named(0), "label": "present", "finding": "Edema"}
    labeled = await client.post("/label/chest", data=form)
    assert labeled.status_code == 303
    assert "finding=Edema" in labeled.headers["location"]
    assert "present" in await get(labeled.headers["location"])
    assert counts(monitored)[0] == (150, 1, 1)


def test_the_number_of_series_is_bounded() -> None:
    newest_first = [
        (str(version), f"finding {k}") for version in range(30, 0, -1) for k in range(300)
    ]
    kept = within_bound(newest_first)
    assert len(kept) == 2 * FINDINGS_SHOWN
    assert {version for version, _ in kept} == {"30", "29"}


@pytest.mark.anyio
async def test_one_verdict_names_every_finding_that_is_wrong(
    monitored: MonitoredModel, client: httpx.AsyncClient
) -> None:
    """Edema and Mass are there half as often as said, Effusion as often."""
    random = np.random.default_rng(0)
    monitored.serve_findings(range(600), [0.6, 0.6, 0.6])
    monitored.label_findings(range(600), random.random((600, 3)) < [0.3, 0.6, 0.3])
    wrong = "Edema and Mass present less often than said"
    assert wrong in unescape((await client.get("/")).text)
    page = unescape((await client.get(f"{REPORT}/page")).text)
    (title,) = re.findall(r'<p class="word">(.*?)</p>', page)
    assert title.endswith(wrong)
    lines = re.findall(r'<tr class="\w+"><th scope="row"><a [^>]*>(\w+)</a>(.*?)</tr>', page, re.S)
    names = [name for name, _ in lines]
    assert ({*names[:2]}, names[2:]) == ({"Edema", "Mass"}, ["Effusion"])
    for name, line in lines:
        said, found = (float(each) for each in re.findall(r"([\d.]+) %", line)[-2:])
        (gap,) = re.findall(r'<td class="n">([+-][\d.]+) <small>', line)
        assert float(gap) == pytest.approx(said - found, abs=0.11), name
        assert "Cases" in line


@pytest.mark.anyio
@pytest.mark.world(card=make_card())
async def test_logged_models_may_have_findings(
    monitored: MonitoredModel, client: httpx.AsyncClient
) -> None:
    declared = {"model": "far", "findings": {"Edema": 0.4, "Mass": 0.5}}
    logged = {"model": "far", "request_id": "scan-1", "findings": {"Edema": 0.62, "Mass": 0.03}}

    async def log(body: dict[str, Any], to: str = "/predictions-log") -> Any:
        return (await client.post(to, json=body)).json()

    for _ in range(2):
        assert (await log(declared, "/models-log"))["classes"] == ["Edema", "Mass"]
    for status in ("accepted", "unchanged"):
        sent = await log(logged | {"labels": {"Edema": 1}})
        assert (sent["status"], sent["feedback"]) == (status, status)
    label = {"prediction_id": sent["prediction_id"], "labels": {"Mass": 0}}
    assert (await log(label, "/feedback"))["status"] == "accepted"
    row = {"model": "far", "request_id": "scan-2", "finding": "Edema", "confidence": 0.1}
    assert (await log(row))["status"] == "accepted"
    for wrong, code in (
        (logged | {"findings": {"Oedema": 0.1}}, "unknown_finding"),
        (logged | {"findings": {"Edema": 0.1}}, "invalid_prediction"),
        ({**logged, "findings": None, "probabilities": [0.5, 0.5]}, "finding_needed"),
    ):
        assert (await log(wrong))["error"] == code
    overview = (await client.get("/models/far/report")).json()["findings"]
    covered = {each["finding"]: each["coverage"] for each in overview}
    figures = [[covered[name][of] for of in ("served", "labeled")] for name in ("Edema", "Mass")]
    assert figures == [[2, 1], [1, 1]]
    assert check(monitored.ledger).agrees


def test_what_became_of_earlier_answers_about_a_finding(monitored: MonitoredModel) -> None:
    monitored.serve_findings(range(40), [0.41, 0.1, 0.9])
    monitored.label_findings(range(40), [(n < 10, False, False) for n in range(40)])
    with monitored.ledger.read() as connection:
        rows = load(connection, monitored.watched_version_ids)
        edema, _, mass = (
            find_answer_record(monitored.ledger, connection, row, predicted=name, confidence=p)
            for row, name, p in zip(rows, FINDINGS, (0.42, 0.1, 0.9), strict=True)
        )
    assert (edema.labeled, edema.right) == (40, 10)
    assert edema.of_finding.startswith("Present in 10 of 40 labeled answers at 40 to 47 %")
    assert (mass.right, mass.is_contradicted) == (0, True)
