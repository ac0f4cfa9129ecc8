"""The key that hashes patients, logged answers that name theirs, and what a table shows of it."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from candor.predictions.columns import ColumnWishes
from candor.predictions.errors import PredictionsRefused
from candor.predictions.upload_columns import UploadColumns, label_columns, prediction_columns
from model_store.errors import TagsInvalid
from model_store.tags import is_key, read_tags
from monitoring.errors import FeedbackInvalid, LedgerError
from monitoring.feedback.body import FIELDS as LABEL_FIELDS
from monitoring.feedback.body import LABELS
from monitoring.ledger.database import Ledger
from monitoring.ledger.days import read_answers_by_day
from monitoring.ledger.patient_key import open_patient_key
from monitoring.ledger.versions import load
from monitoring.logged.body import FIELDS
from monitoring.maintenance.export import export
from monitoring.patient_id import PatientKey, as_text
from tests.builders.answers import DAY_NS, NOW_NS, make_card, make_row
from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel, client_of

DATABASES = BOTH_DATABASES
FILE_KEY, OTHER_KEY = b"k" * 32, b"o" * 32
MODEL = {"model": "retina", "version": 1, "classes": ["healthy", "ill"]}


def test_all_processes_of_a_ledger_hash_alike_and_two_ledgers_do_not(
    ledger_url: str, tmp_path: Path
) -> None:
    with Ledger(ledger_url) as ledger, Ledger(f"sqlite:///{tmp_path / 'other.db'}") as other:
        first, again = open_patient_key(ledger), open_patient_key(ledger)
        assert first.hash("MRN-17") == again.hash("MRN-17") != first.hash("MRN-18")
        assert open_patient_key(other).hash("MRN-17") != first.hash("MRN-17")
        assert first.hash(None) is None
        assert b"".join(str(first).encode().split()).find(first.secret) == -1


def test_the_key_that_a_ledger_began_with_stays(ledger_url: str) -> None:
    with Ledger(ledger_url) as ledger:
        key = open_patient_key(ledger, FILE_KEY)
        assert key.hash("MRN-17") == PatientKey(FILE_KEY).hash("MRN-17")
        with ledger.read() as connection:
            assert connection.execute(text("select secret from patient_key")).all() == [(None,)]
        assert open_patient_key(ledger, FILE_KEY) == key
        for wrong in (None, OTHER_KEY):
            with pytest.raises(LedgerError, match="CANDOR_PATIENT_KEY_FILE"):
                open_patient_key(ledger, wrong)


def test_a_ledger_that_made_its_key_keeps_it(ledger_url: str) -> None:
    with Ledger(ledger_url) as ledger:
        open_patient_key(ledger)
        with pytest.raises(LedgerError, match="made its own"):
            open_patient_key(ledger, FILE_KEY)


@pytest.mark.anyio
async def test_logged_answers_name_patients_that_no_table_shows(
    ledger_url: str, tmp_path: Path
) -> None:
    with MonitoredModel(ledger_url, Clock()) as monitored:
        async with client_of(monitored) as client:
            assert (await client.post("/models-log", json=MODEL)).status_code == 200
            item = {"model": "retina", "predicted": "ill", "confidence": 0.9}
            patients = ["MRN-17", " MRN-17 ", 17, "17", None]
            items = [
                item | {"request_id": str(number), "patient": patient}
                for number, patient in enumerate(patients)
            ]
            answers = (await client.post("/predictions-log", json=items)).json()
            assert {answer["status"] for answer in answers} == {"accepted"}
            table = "model,request_id,predicted,confidence,patient\nretina,7,ill,0.9,MRN-17\n"
            sent = await client.post(
                "/predictions-log", content=table, headers={"Content-Type": "text/csv"}
            )
            assert sent.status_code == 200
            refused = await client.post("/predictions-log", json=items[0] | {"patient": "x" * 129})
            assert refused.status_code == 422
        export(monitored.ledger, tmp_path / "all.csv")
        hashed = monitored.recorder.patients.hash
    with (tmp_path / "all.csv").open() as file:
        found = {row["request_id"]: row["patient"] for row in csv.DictReader(file)}
    named, number = as_text(hashed("MRN-17")), as_text(hashed("17"))
    assert [found[each] for each in "012347"] == [named, named, number, number, "", named]
    assert "MRN-17" not in (tmp_path / "all.csv").read_text()
    if ledger_url.startswith("sqlite"):
        assert not any(b"MRN-17" in file.read_bytes() for file in tmp_path.glob("ledger.db*"))


def test_changes_of_the_answers_count_a_patient_once(ledger_url: str) -> None:
    first = NOW_NS // DAY_NS
    with MonitoredModel(ledger_url, Clock()) as monitored:
        days: list[tuple[int, list[str | None]]] = [
            (0, ["A", "A", "A", None, None]),
            (1, ["A", "B", "B", None]),
            (400, ["A", "C"]),
        ]
        number = 0
        for day, patients in days:
            for patient in patients:
                number += 1
                row = make_row(
                    number,
                    watched_version_id=monitored.watched_version_id,
                    served_at_ns=NOW_NS + day * DAY_NS,
                )
                monitored.serve(row._replace(patient=monitored.recorder.patients.hash(patient)))
        (busy,) = monitored.recorder.register(make_card("busy"))  # and names no patients
        later_ns = NOW_NS + 400 * DAY_NS
        monitored.serve(
            *(
                make_row(number, watched_version_id=busy, served_at_ns=later_ns)
                for number in range(100, 1_100)
            )
        )
        with monitored.ledger.read() as connection:
            (version,) = load(connection, [monitored.watched_version_id])
            found = read_answers_by_day(connection, version, since_day=0, before_day=first + 500)
    assert [(day - first, int(counts.sum())) for day, counts in found] == [(0, 3), (1, 2), (400, 2)]
    assert all(np.argwhere(counts).tolist() == [[1, 13]] for _, counts in found)


def test_tags_that_identify_are_refused() -> None:
    for key in ("patient", "Patient_ID", "PatientName", "mrn", "subject-id", "NHS.number", "name"):
        assert not is_key(key)
        with pytest.raises(TagsInvalid, match="patient"):
            read_tags(f"{key}=17")
    assert all(is_key(key) for key in ("site", "patient_position", "device_name", "ward"))


def test_a_column_of_patients_is_sent_as_the_patient() -> None:
    names = ["request_id", "predicted", "confidence", "subject_id"]
    found = prediction_columns(names, FIELDS, ColumnWishes())
    row = dict(zip(names, ["a", "ill", 0.9, "s-1"], strict=True))
    assert found.item(row) == {
        "request_id": "a",
        "predicted": "ill",
        "confidence": 0.9,
        "patient": "s-1",
    }


def test_a_column_of_patients_is_sent_with_its_label(tmp_path: Path) -> None:
    def found(column: str, cells: Sequence[str], group: str | None = None) -> UploadColumns:
        names = ["request_id", "label", column]
        rows = (f"{number},ill,{cell}" for number, cell in enumerate(cells))
        (tmp_path / "labels.csv").write_text("\n".join([",".join(names), *rows]))
        return label_columns(
            names, LABEL_FIELDS, ColumnWishes(group=group), file=tmp_path / "labels.csv"
        )

    patients = [f"P{number // 2:03}" for number in range(12)]
    row = {"request_id": "1", "label": "ill", "Subject ID": "P001", "code": "P001"}
    sent = {"request_id": "1", "label": "ill", "patient": "P001"}
    assert found("Subject ID", patients).item(row) == sent
    with pytest.raises(PredictionsRefused, match="'code'"):
        found("code", patients)
    assert found("code", patients, "code").item(row) == sent
    assert "patient" not in found("code", patients, "none").item(row)
    assert "patient" not in found("lesion", ["0", "1"] * 6).sources  # a finding


def test_a_label_that_is_sent_has_its_patient() -> None:
    item = {"label": "ill", "model": "chest", "request_id": "1"}
    read = [LABELS.convert(item | {"patient": each}) for each in (" MRN-17 ", 17, None)]
    assert [each.item().patient for each in read] == ["MRN-17", "17", None]
    with pytest.raises(FeedbackInvalid, match="patient"):
        LABELS.convert(item | {"patient": "a\nb"}).item()
