"""One finding is recalibrated on its labels: the graph, its threshold and its promises follow; the
others stay as they are.
"""

import functools
import re
from pathlib import Path

import numpy as np
import pytest

from calibration.calibrators.temperature import sigmoid
from calibration.document import FigureTable
from candor.terminal.report import report_document
from console.recalibration_page import recalibration_page
from model_store.store.changes import retire
from model_store.store.store import Store
from monitoring.diagnosis.facts import State
from monitoring.diagnosis.words import words_of
from monitoring.errors import FindingNeeded, FindingUnknown, RecalibrationRefused
from monitoring.recalibration import AnswerFilter, RecalibrationPreview, read_group, recalibrate
from monitoring.reports.report import calibration_report
from serving.inference.predictor import Predictor
from tests.builders.findings import FINDINGS, findings_bundle
from tests.builders.monitored import Clock, MonitoredModel

SHIFT = 1.2  # by which the log-odds of Edema are too low


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a model of three findings, and a ledger in which Edema is said too low."""
    folder = tmp_path_factory.mktemp("chest")
    store = Store(folder / "store")
    store.publish("chest", functools.partial(findings_bundle))
    store.promote("chest", 1)
    card = store.read("chest").card
    rng = np.random.default_rng(1)
    logits = rng.normal(-1, 1.5, (900, 3))
    truth = rng.random((900, 3)) < sigmoid(logits + np.array([SHIFT, 0, 0]))
    with MonitoredModel(folder / "ledger.db", Clock(), card=card) as chest:
        chest.serve_findings(range(900), sigmoid(logits))
        chest.label_findings(range(900), truth)
    return folder


def opened(place: Path) -> MonitoredModel:
    return MonitoredModel(
        place / "ledger.db", Clock(), card=Store(place / "store").read("chest").card
    )


def test_the_next_version_changes_one_finding(place: Path) -> None:
    store = Store(place / "store")
    with opened(place) as chest:
        done = recalibrate(chest.ledger, store, "chest", finding="Edema")
    before, after = store.read("chest", 1), store.read("chest", done.card.version)
    old, new = (bundle.card.of_finding("Edema").findings[0] for bundle in (before, after))
    assert new.calibration.class_bias[1] == pytest.approx(SHIFT, abs=0.35)
    assert before.card.findings[1:] == after.card.findings[1:]
    assert new.threshold == old.threshold == 0.5
    assert new.promise.sensitivity.value > 0
    assert new.labeled == done.proposal.held_out
    assert done.proposal.after.signed_gap == pytest.approx(0, abs=0.06)
    assert done.proposal.before.signed_gap < -0.12
    assert done.proposal.changed > 0
    (change,) = done.proposal.classes
    assert change.sensitivity_after > change.sensitivity_before
    shown = RecalibrationPreview(done)
    assert "Edema" in shown.title
    page = recalibration_page(shown).rpartition("</style>")[2]
    for word in ("accuracy", "confidence", "per class"):
        assert word not in re.sub(r"<svg.*?</svg>|base64,[^\"]*", "", page, flags=re.DOTALL).lower()
    image = np.full((1, 3, 8, 8), 90, dtype=np.uint8)
    p, q = (Predictor(bundle).predict(image) for bundle in (before, after))
    np.testing.assert_allclose(p[:, 1:], q[:, 1:], atol=1e-6)
    logit = np.log(p[0, 0] / (1 - p[0, 0]))
    mapped = sigmoid(logit / new.calibration.temperature + new.calibration.class_bias[1])
    assert q[0, 0] == pytest.approx(float(mapped), abs=1e-5)


def test_sites_of_a_finding_and_the_finding_by_hand(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.publish("chest", functools.partial(findings_bundle))
    store.promote("chest", 1)
    card, rng = store.read("chest").card, np.random.default_rng(2)
    with MonitoredModel(tmp_path / "ledger.db", Clock(), card=card) as chest:
        for number, site in enumerate("BC"):
            images = range(600 * number, 600 * (number + 1))
            logits = rng.normal(-1, 1.5, (600, 3))
            truth = rng.random((600, 3)) < sigmoid(logits + np.array([SHIFT, 0, SHIFT]))
            chest.serve_findings(images, sigmoid(logits), tags=f'{{"site":"{site}"}}')
            chest.label_findings(images, truth)
        fit = functools.partial(recalibrate, chest.ledger, store, "chest")
        for number, site in enumerate("BC", start=2):
            group = AnswerFilter(group=read_group(f"site={site}"))
            edema = fit(finding=FINDINGS[0], answer_filter=group)
            first = (edema.card.findings or ())[0]
            (entry,) = first.calibration.subgroups or ()
            assert (edema.card.version, entry.values) == (number, (site,))
            retire(store, "chest", number)
        last = fit(finding=FINDINGS[2])
    third = (last.card.findings or ())[2]
    assert third.calibration.subgroups is None
    assert third.calibration.class_bias[1] == pytest.approx(SHIFT, abs=0.35)


def test_what_cannot_be_recalibrated_is_refused(place: Path) -> None:
    store = Store(place / "store")
    for waiting in set(store.versions("chest")) - {1}:
        retire(store, "chest", waiting)
    with opened(place) as chest:
        fit = functools.partial(recalibrate, chest.ledger, store, "chest", version=1)
        with pytest.raises(FindingNeeded):
            fit()
        with pytest.raises(FindingUnknown):
            fit(finding="Oedema")
        with pytest.raises(RecalibrationRefused, match="The best, a temperature and a bias, "):
            fit(finding="Effusion")


def test_the_diagnosis_speaks_of_presence(place: Path) -> None:
    with opened(place) as chest:
        edema, mass = (
            calibration_report(chest.ledger, "chest", version=1, finding=name)
            for name in ("Edema", "Mass")
        )
    assert edema.diagnosis.state is State.ALARM
    tables = [part for part in report_document(edema) if isinstance(part, FigureTable)]
    columns = [column for part in tables for column in part.columns]
    assert "share present" in columns
    assert not [each for each in columns if "accuracy" in each or "confidence" in each]
    said = words_of(edema.diagnosis)
    assert "present more often than said" in said.title
    for word in ("accura", "confiden"):
        assert word not in " ".join((said.title, *said.summary, *said.actions)).lower()
    assert mass.diagnosis.state is State.FINE
    assert edema.reference["accuracy"] == pytest.approx(1 / 3, abs=0.1)
