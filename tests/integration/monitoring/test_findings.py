"""Findings in the ledger: a row for each image and finding, partial labels, shared alarms."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import event

from calibration.drift.state import DriftSettings
from console.report_document import findings_values
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
from tests.builders.monitored import Clock, MonitoredModel, client_of, page_client_of
from tests.builders.processes import candor_here

EDEMA, EFFUSION, MASS = range(3)
FOUND = ("absent", "present")


@pytest.fixture
def chest(ledger_url: str, clock: Clock) -> Iterator[MonitoredModel]:
    with MonitoredModel(ledger_url, clock, card=findings_card()) as opened:
        yield opened


def read(number: int, **labels: str) -> FeedbackItem:
    return FeedbackItem("", prediction_id(number), findings=labels)


def by_request(request_id: str, **labels: str) -> FeedbackItem:
    return FeedbackItem("", None, "chest", request_id, findings=labels)


def counts(monitored: MonitoredModel) -> list[tuple[int, int, int]]:
    """Answers, labels and positives by finding."""
    sums = [monitored.sums(key) for key in monitored.watched_version_ids]
    return [
        (int(each.served.sum()), int(each.labeled.n.sum()), int(each.labeled.correct.sum()))
        for each in sums
    ]


def assert_recounts(monitored: MonitoredModel) -> None:
    counted = check(monitored.ledger)
    assert counted.agrees, counted.differences


def test_missing_labels_are_never_negative(chest: MonitoredModel) -> None:
    chest.serve_findings(range(3), [0.7, 0.2, 0.05])
    assert chest.label(read(0, Edema="present", Mass="absent"), read(1, Edema="absent")) == (
        ["accepted"] * 2
    )
    assert counts(chest) == [(3, 2, 1), (3, 0, 0), (3, 1, 0)]
    # the claim is that of presence, also below one half
    served = [chest.sums(key).served_confidence.sum() for key in chest.watched_version_ids]
    np.testing.assert_allclose(served, [2.1, 0.6, 0.15], atol=1e-6)
    assert_recounts(chest)


def test_uncertain_is_kept_and_feeds_nothing(chest: MonitoredModel) -> None:
    chest.serve_findings([0], [0.7, 0.2, 0.05])
    assert chest.label(read(0, Edema="uncertain")) == ["uncertain"]
    assert chest.label(read(0, Edema="uncertain")) == ["unchanged"]
    assert counts(chest)[EDEMA] == (1, 0, 0)
    assert chest.label(read(0, Edema="present")) == ["accepted"]  # a reader decides
    assert chest.label(read(0, Edema="uncertain")) == ["uncertain"]
    assert counts(chest)[EDEMA] == (1, 1, 1)
    assert chest.rows("SELECT label, counts_as FROM feedback ORDER BY feedback_id") == [
        *[(-1, 4), (1, 0), (-1, 4)]
    ]
    policies = {"": LabelPolicy.PROXY}
    change_sources(chest.ledger, "chest", policies)
    assert_recounts(chest)


def test_a_correction_moves_one_finding(chest: MonitoredModel) -> None:
    chest.serve_findings([0], [0.7, 0.2, 0.05])
    chest.label(read(0, Edema="present", Effusion="absent"))
    (result,) = chest.recorder.feedback([read(0, Edema="absent", Effusion="absent")]).result()
    assert result.status == "corrected"
    assert result.prediction_id == prediction_id(0)
    assert result.findings == {"Edema": "corrected", "Effusion": "unchanged"}
    assert counts(chest)[:2] == [(1, 1, 0), (1, 1, 0)]
    assert_recounts(chest)


def test_what_does_not_fit_is_refused_as_a_whole(chest: MonitoredModel) -> None:
    chest.recorder.register(make_card())
    chest.serve_findings([0], [0.7, 0.2, 0.05])
    chest.serve(make_row(9, watched_version_id=chest.watched_version_ids[-1] + 1))
    items = [
        read(0, Edema="present", Oedema="present"),
        FeedbackItem("present", prediction_id(0)),
        read(9, Edema="present"),
        read(5, Edema="present"),
        by_request("early", Oedema="present"),
        FeedbackItem("present", None, "chest", "early"),
    ]
    results = chest.recorder.feedback(items).result()
    causes = [result.cause and result.cause.__name__ for result in results]
    assert causes == [
        *["FindingUnknown", "FindingNeeded", "FindingUnknown"],
        *[None, "FindingUnknown", "FindingNeeded"],
    ]
    assert results[3].status == "unknown"
    assert counts(chest) == [(1, 0, 0)] * 3


def test_labels_wait_for_their_image(chest: MonitoredModel) -> None:
    early = by_request("scan-1", Edema="present", Mass="absent")
    assert chest.label(early, early) == ["pending"] * 2
    chest.serve_findings([0], [0.7, 0.2, 0.05], request_id="scan-1")
    assert counts(chest) == [(1, 1, 1), (1, 0, 0), (1, 1, 0)]
    assert chest.label(by_request("scan-1", Effusion="absent")) == ["accepted"]
    (result,) = chest.recorder.feedback([by_request("scan-1", Mass="absent")]).result()
    assert (result.status, result.prediction_id) == ("unchanged", prediction_id(0))
    assert_recounts(chest)


def test_a_shadow_gets_the_labels_of_the_sent_answer(chest: MonitoredModel) -> None:
    ids = chest.recorder.register(findings_card(version=2))
    chest.recorder.shadow(*ids).result()
    chest.serve_findings([0], [0.7, 0.2, 0.05])
    sent, chest.watched_version_ids = chest.watched_version_ids, ids
    chest.serve_findings([0], [0.6, 0.1, 0.01], prediction_id=shadow_id(prediction_id(0)))
    assert chest.label(read(0, Edema="present")) == ["accepted"]
    assert counts(chest) == [(1, 1, 1), (1, 0, 0), (1, 0, 0)]
    chest.watched_version_ids = sent
    assert counts(chest) == [(1, 1, 1), (1, 0, 0), (1, 0, 0)]


def test_findings_share_the_false_alarms(ledger_url: str, clock: Clock) -> None:
    tags = TagSettings(("site",))
    with MonitoredModel(ledger_url, clock, card=findings_card(), tags=tags) as chest:
        chest.serve_findings([0], [0.7, 0.2, 0.05], tags='{"site": "A"}')
        chest.label(read(0, Edema="present"))
        with chest.ledger.read() as connection:
            watches = {
                (each.watched_version_id, each.name): each.settings
                for key in chest.watched_version_ids
                for each in watch.load_all(connection, key)
            }
        whole = [watches[key, ""] for key in chest.watched_version_ids]
        assert [each.part for each in whole] == pytest.approx([1 / 6] * 3)
        assert {each.class_count for each in whole} == {0}
        assert watches[chest.watched_version_ids[0], "tag:site=A"].part == pytest.approx(1 / 6)
        assert_recounts(chest)


def test_one_finding_drifts(ledger_url: str, clock: Clock) -> None:
    settings = DriftSettings(average_run_length=1_000)
    with MonitoredModel(ledger_url, clock, card=findings_card(), settings=settings) as chest:
        rng = np.random.default_rng(0)
        truth = rng.random((400, 3)) < [0.4, 0.1, 0.1]
        chest.serve_findings(range(400), [0.1, 0.1, 0.1])
        chest.label_findings(range(400), truth)
        active = [chest.detectors(key)[0] for key in chest.watched_version_ids]
        assert [each.active for each in active] == [True, False, False]
        assert active[EDEMA].direction == "under"
        assert_recounts(chest)
        which = ("--ledger", ledger_url, "--finding", FINDINGS[EDEMA], "--note", "new probe")
        done = candor_here("ledger", "acknowledge", "chest", *which)
        assert done.stdout == "chest: Edema version 1: the watch starts again\n", done.output


def test_a_report_reads_no_more_than_this_for_each_finding(chest: MonitoredModel) -> None:
    chest.serve_findings(range(20), [0.1, 0.1, 0.9])
    chest.label_findings(range(20), np.ones((20, 3), bool))
    said: list[Any] = []
    with chest.ledger.read() as connection:
        event.listen(connection.engine, "before_cursor_execute", lambda *on: said.append(on))
    findings_report(chest.ledger, "chest")
    assert len(said) <= 38 * len(FINDINGS)


def test_an_overview_says_which_figures_are_of_those_affected(chest: MonitoredModel) -> None:
    overview = findings_report(chest.ledger, "chest")
    first, *others = overview.findings
    broken = replace(first, since_s=1e9, elsewhere=first.measures)
    values = findings_values(replace(overview, findings=(broken, *others)))
    assert "affected" in values["period"]
    marked = ["affected" in row.figures[0][1] for row in values["rows"]]
    assert marked == [True, False, False]


def test_erasure_takes_all_findings_of_an_image(chest: MonitoredModel) -> None:
    chest.serve_findings(range(2), [0.7, 0.2, 0.05])
    chest.label(read(0, Edema="present", Mass="uncertain"), read(1, Edema="absent"))
    erased = forget(chest.ledger, prediction_id=prediction_id(0))
    assert (erased.answers, erased.labels) == (1, 2)
    assert counts(chest) == [(1, 1, 0), (1, 0, 0), (1, 0, 0)]
    assert_recounts(chest)


def test_export_names_image_and_finding(chest: MonitoredModel, tmp_path: Path) -> None:
    chest.serve_findings([0], [0.7, 0.2, 0.05])
    chest.label(read(0, Edema="present"))
    assert export(chest.ledger, tmp_path / "all.csv") == 3
    lines = (tmp_path / "all.csv").read_text().splitlines()
    header = lines[0].split(",")
    rows = [dict(zip(header, line.split(","), strict=False)) for line in lines[1:]]
    assert {row["prediction_id"] for row in rows} == {str(UUID(bytes=prediction_id(0)))}
    assert {row["finding"]: float(row["confidence"]) for row in rows} == pytest.approx(
        dict(zip(FINDINGS, [0.7, 0.2, 0.05], strict=True))
    )


def test_pruning_and_repair(chest: MonitoredModel, clock: Clock) -> None:
    chest.serve_findings([0], [0.7, 0.2, 0.05])
    clock.now_ns = NOW_NS + 3 * DAY_NS
    chest.serve(
        make_row(1, watched_version_id=chest.watched_version_ids[0], served_at_ns=clock.now_ns)
    )
    pruned = prune(chest.ledger, older_than_s=2 * 86_400)
    assert pruned.answers == 3
    assert chest.label(read(0, Edema="present")) == ["expired"]
    assert repair(chest.ledger).agrees


def test_rows_are_found_by_request_id(chest: MonitoredModel) -> None:
    chest.serve_findings([0, 1], [0.7, 0.2, 0.05], request_id="scan-1")
    found = chest.recorder.recorded(chest.watched_version_ids, ["scan-1"]).result()
    assert list(found) == [prediction_id(1), prediction_id(0)]
    assert [row.confidence for row in found[prediction_id(0)]] == [0.7, 0.2, 0.05]
    assert finding_id(found[prediction_id(0)][2].prediction_id, "Mass") == prediction_id(0)


def test_a_promotion_replaces_all_findings(chest: MonitoredModel) -> None:
    second = chest.recorder.register(findings_card(version=2))
    for ids in (chest.watched_version_ids, chest.watched_version_ids, second):
        chest.recorder.promote(*ids).result()
    events = chest.rows("SELECT watched_version_id FROM monitor_event WHERE kind = 'promoted'")
    assert sorted(key for (key,) in events) == sorted((*chest.watched_version_ids, *second))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        ({"labels": {"Edema": 1, "Effusion": 0, "Mass": None}}, "json", [(1, 1), (1, 0), (0, 0)]),
        ({"labels": {"Edema": True, "Mass": "absent"}}, "json", [(1, 1), (0, 0), (1, 0)]),
        ({"labels": {"Edema": -1, "Mass": "-1.0"}}, "json", [(0, 0), (0, 0), (0, 0)]),
        ({"label": "Edema|Mass", "looked_for": "*"}, "json", [(1, 1), (1, 0), (1, 1)]),
        ({"label": "Edema", "looked_for": "Edema|Mass"}, "json", [(1, 1), (0, 0), (1, 0)]),
        ({"label": "No Finding", "looked_for": "*"}, "json", [(1, 0), (1, 0), (1, 0)]),
        ("Edema,Effusion,Mass\n{id},1.0,,0.0\n", "csv", [(1, 1), (0, 0), (1, 0)]),
        ("label,looked_for\n{id},Edema|Mass,*\n", "csv", [(1, 1), (1, 0), (1, 1)]),
        ("label,looked_for\n{id},,*\n", "csv", [(1, 0), (1, 0), (1, 0)]),
        ("label,looked_for\n{id},Edema,\n", "csv", [(0, 0), (0, 0), (0, 0)]),
        ({"label": "Edema", "looked_for": " "}, "json", [(0, 0), (0, 0), (0, 0)]),
    ],
)
async def test_labels_as_people_write_them(
    tmp_path: Path, body: Any, kind: str, expected: list[tuple[int, int]]
) -> None:
    name = str(UUID(bytes=prediction_id(0)))
    with MonitoredModel(tmp_path / "ledger.db", Clock(), card=findings_card()) as chest:
        chest.serve_findings([0], [0.7, 0.2, 0.05])
        async with client_of(chest) as client:
            if kind == "json":
                answer = await client.post("/feedback", json={"prediction_id": name} | body)
            else:
                table = "prediction_id," + body.format(id=name)
                answer = await client.post(
                    "/feedback", content=table, headers={"Content-Type": "text/csv"}
                )
        assert answer.status_code == 200, answer.text
        assert "rejected" not in answer.text
        assert [each[1:] for each in counts(chest)] == expected


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
            sent = {"prediction_id": str(UUID(bytes=prediction_id(0))), "labels": {there: 1}}
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


@pytest.mark.anyio
@pytest.mark.parametrize(
    "body",
    [
        {"labels": {"Edema": 2}},
        {"labels": {"Edema": "maybe"}},
        {"labels": {"Edema": 1}, "label": "Edema"},
        {"label": "Edema|Mass", "looked_for": "Edema"},
        {"label": "Edema|Mass"},
        {"looked_for": "Oedema"},
        {},
    ],
)
async def test_unreadable_labels_are_refused(tmp_path: Path, body: dict[str, Any]) -> None:
    with MonitoredModel(tmp_path / "ledger.db", Clock(), card=findings_card()) as chest:
        chest.serve_findings([0], [0.7, 0.2, 0.05])
        async with client_of(chest) as client:
            sent = {"prediction_id": str(UUID(bytes=prediction_id(0)))} | body
            answer = await client.post("/feedback", content=json.dumps(sent))
        assert answer.status_code == 422, answer.text
        assert [each[1:] for each in counts(chest)] == [(0, 0)] * 3


def words_in(page: str) -> set[str]:
    """The words that a page shows, titles and names of pictures among them."""
    shown = re.sub(r"<(style|script).*?</\1>", " ", page, flags=re.DOTALL)
    named = re.findall(r'(?:aria-label|title)="([^"]*)"', shown)
    return set(re.findall(r"[a-z]+", " ".join([re.sub(r"<[^>]*>", " ", shown), *named]).lower()))


@pytest.mark.anyio
async def test_reports_are_by_finding(tmp_path: Path) -> None:
    settings = DriftSettings(average_run_length=1_000)
    where = tmp_path / "ledger.db"
    with MonitoredModel(where, Clock(), card=findings_card(), settings=settings) as chest:
        chest.serve_findings(range(150), [0.1, 0.1, 0.9])
        chest.label(*(read(number, Effusion="present", Mass="present") for number in range(150)))
        async with page_client_of(chest, tmp_path) as client:
            report = "/models/chest/report"
            overview = (await client.get(report)).json()
            assert overview["findings"][0]["finding"] == "Effusion"
            assert [each["coverage"]["labeled"] for each in overview["findings"]] == [150, 150, 0]
            one = (await client.get(report, params={"finding": "Effusion"})).json()
            assert one["finding"] == "Effusion"
            assert one["drift"]["active"]
            assert one["measures"]["accuracy"] == 1.0
            for path in (f"{report}/slices", f"{report}/sources"):
                assert (await client.get(path)).json()["error"] == "finding_needed"
                assert (await client.get(path, params={"finding": "Mass"})).status_code == 200
            unknown = await client.get(report, params={"finding": "Oedema"})
            assert (unknown.status_code, unknown.json()["error"]) == (422, "unknown_finding")
            summaries = (await client.get("/reports")).json()["models"]
            assert sorted(each["finding"] for each in summaries) == sorted(FINDINGS)
            for path in ("/", f"{report}/page", f"{report}/page?finding=Effusion", "/label/chest"):
                page = await client.get(path)
                assert page.status_code == 200, page.text
                assert "Effusion" in page.text
            one_page = (await client.get(f"{report}/page?finding=Effusion")).text
            assert "Expected share present" in one_page
            assert "Probability minus share present" in one_page
            for path in (
                report + "/page",
                "/slices/chest",
                "/report/chest",
                "/models/chest/answers/page",
            ):
                shown = await client.get(f"{path}?finding=Effusion")
                assert shown.status_code == 200, shown.text
                strange = {"accuracy", "class", "classes", "confidence", "overconfidence"}
                assert words_in(shown.text) & strange == set()
            done = await client.post(
                f"{report}/acknowledge?finding=Effusion", json={"note": "new probe"}
            )
            assert done.json()["finding"] == "Effusion"
            assert not done.json()["drift"]["active"]
            filed = (await client.get("/report/chest")).text
            assert re.search(r"Effusion: [^<]*acknowledged[^<]*new probe", filed)
            assert filed.count("promoted to production") <= 1
            labeled = await client.post(
                "/label/chest",
                data={
                    "prediction_id": str(UUID(bytes=prediction_id(0))),
                    "label": "present",
                    "finding": "Edema",
                },
            )
            assert labeled.status_code == 303
            assert "finding=Edema" in labeled.headers["location"]
            assert "present" in (await client.get(labeled.headers["location"])).text
        assert counts(chest)[EDEMA] == (150, 1, 1)


def test_metrics_are_by_finding(ledger_url: str, clock: Clock) -> None:
    with MonitoredModel(ledger_url, clock, card=findings_card()) as chest:
        chest.serve_findings(range(3), [0.7, 0.2, 0.05])
        chest.label(read(0, Edema="present"))
        served = [chest.metric("predictions_total", finding=name) for name in FINDINGS]
        assert served == [3, 3, 3]
        labeled = [chest.metric("feedback_total", finding=name) for name in FINDINGS]
        assert labeled == [1, 0, 0]
        thresholds = {
            name: chest.metric("calibration_drift_log_threshold", finding=name) for name in FINDINGS
        }
        assert thresholds == pytest.approx(dict.fromkeys(FINDINGS, np.log(3e5)))


def test_the_number_of_series_is_bounded() -> None:
    newest_first = [
        (str(version), f"finding {k}") for version in range(30, 0, -1) for k in range(300)
    ]
    kept = within_bound(newest_first)
    assert len(kept) == 2 * FINDINGS_SHOWN
    assert {version for version, _ in kept} == {"30", "29"}


@pytest.mark.anyio
async def test_one_verdict_names_every_finding_that_is_wrong(tmp_path: Path, clock: Clock) -> None:
    """Edema and Mass are there half as often as said, Effusion as often."""
    with MonitoredModel(tmp_path / "ledger.db", clock, card=findings_card()) as chest:
        random = np.random.default_rng(0)
        chest.serve_findings(range(600), [0.6, 0.6, 0.6])
        chest.label_findings(range(600), random.random((600, 3)) < [0.3, 0.6, 0.3])
        async with page_client_of(chest, tmp_path) as client:
            index = unescape((await client.get("/")).text)
            page = unescape((await client.get("/models/chest/report/page")).text)
    wrong = "Edema and Mass present less often than said"
    assert wrong in index
    (title,) = re.findall(r'<p class="word">(.*?)</p>', page)
    assert title.endswith(wrong)
    lines = re.findall(r'<tr class="\w+"><th scope="row"><a [^>]*>(\w+)</a>(.*?)</tr>', page, re.S)
    assert {name for name, _ in lines[:2]} == {"Edema", "Mass"}
    assert [name for name, _ in lines[2:]] == ["Effusion"]
    for name, line in lines:
        said, found = (float(each) for each in re.findall(r"([\d.]+) %", line)[-2:])
        (gap,) = re.findall(r'<td class="n">([+-][\d.]+)</td>', line)
        assert float(gap) == pytest.approx(said - found, abs=0.11), name
        assert "Cases" in line


@pytest.mark.anyio
async def test_logged_models_may_have_findings(tmp_path: Path) -> None:
    declared = {"model": "far", "findings": {"Edema": 0.4, "Mass": 0.5}}
    logged = {"model": "far", "request_id": "scan-1", "findings": {"Edema": 0.62, "Mass": 0.03}}
    with MonitoredModel(tmp_path / "ledger.db", Clock()) as monitored:
        async with client_of(monitored) as client:
            answer = await client.post("/models-log", json=declared)
            assert answer.json()["classes"] == ["Edema", "Mass"]
            again = await client.post("/models-log", json=declared)
            assert again.status_code == 200
            sent = logged | {"labels": {"Edema": 1}}
            first = (await client.post("/predictions-log", json=sent)).json()
            assert (first["status"], first["feedback"]) == ("accepted", "accepted")
            same = (await client.post("/predictions-log", json=sent)).json()
            assert (same["status"], same["feedback"]) == ("unchanged", "unchanged")
            label = {"prediction_id": first["prediction_id"], "labels": {"Mass": 0}}
            assert (await client.post("/feedback", json=label)).json()["status"] == "accepted"
            row = {"model": "far", "request_id": "scan-2", "finding": "Edema", "confidence": 0.1}
            assert (await client.post("/predictions-log", json=row)).json()["status"] == "accepted"
            for wrong, code in (
                (logged | {"findings": {"Oedema": 0.1}}, "unknown_finding"),
                (logged | {"findings": {"Edema": 0.1}}, "invalid_prediction"),
                ({**logged, "findings": None, "probabilities": [0.5, 0.5]}, "finding_needed"),
            ):
                answer = await client.post("/predictions-log", json=wrong)
                assert (answer.status_code, answer.json()["error"]) == (422, code)
            overview = (await client.get("/models/far/report")).json()
        labeled = {each["finding"]: each["coverage"] for each in overview["findings"]}
        assert [labeled[name]["served"] for name in ("Edema", "Mass")] == [2, 1]
        assert [labeled[name]["labeled"] for name in ("Edema", "Mass")] == [1, 1]
        assert_recounts(monitored)


def test_what_became_of_earlier_answers_about_a_finding(chest: MonitoredModel) -> None:
    chest.serve_findings(range(40), [0.41, 0.1, 0.9])
    chest.label_findings(range(40), [(n < 10, False, False) for n in range(40)])
    with chest.ledger.read() as connection:
        edema, _, mass = (
            find_answer_record(chest.ledger, connection, of, predicted=name, confidence=p)
            for of, name, p in zip(
                load(connection, chest.watched_version_ids),
                FINDINGS,
                (0.42, 0.1, 0.9),
                strict=True,
            )
        )
    assert (edema.labeled, edema.right) == (40, 10)
    assert edema.of_finding.startswith("Present in 10 of 40 labeled answers at 40 to 47 %")
    assert (mass.right, mass.is_contradicted) == (0, True)
