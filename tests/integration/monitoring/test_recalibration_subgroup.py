"""Two of eight sites are wrong: what recalibrating them alone does, and what recalibrating all."""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from calibration.calibrators.subgroups import AnswerCalibrators
from calibration.calibrators.temperature import softmax
from model_store.bundle.calibration_card import ConformalCard
from model_store.errors import TagsInvalid
from model_store.store.changes import retire
from model_store.store.store import Store
from monitoring.drift.tag_settings import TagSettings
from monitoring.errors import RecalibrationHarms, RecalibrationRefused
from monitoring.feedback import FeedbackItem
from monitoring.recalibration import AnswerFilter, RecalibrationPreview, read_group, recalibrate
from tests.builders.answers import draw, row_of
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.processes import candor_here

SITES = "ABCDEFGH"
WRONG = ("B", "E")
GROUP = read_group("site=E,site=B")
N = 3_200


@pytest.fixture
def store(tiny_store: Store) -> Store:
    return tiny_store


def serve(
    monitored: MonitoredModel, *, count: int = N, wrong: tuple[str, ...] = WRONG, seed: int = 0
) -> None:
    """Serve and label answers: the sites `wrong` are about 76 % confident and 42 % right, the
    others calibrated. Device X is at site B alone, Y everywhere else. Tags choose the calibrator.
    """
    rng = np.random.default_rng(seed)
    calibrators = AnswerCalibrators(monitored.card.model_dump())
    graph = softmax(rng.normal(0, 2.3, (count, 3))).astype("<f4")
    sites = np.array(list(SITES))[np.arange(count) % len(SITES)]
    hardly = softmax(np.log(graph) / 8)  # at chance alone no temperature could be determined
    truth = np.where(np.isin(sites, wrong), draw(rng, hardly), draw(rng, graph))
    rows, names = [], []
    for number, site in enumerate(sites):
        tags = json.dumps({"device": "X" if site == "B" else "Y", "site": str(site)})
        served = calibrators.of(tags)(graph[number])
        rows.append(row_of(number + seed * count, served, tags=tags))
        names.append(monitored.card.classes[truth[number]])
    monitored.serve(*rows)
    monitored.label(
        *(FeedbackItem(name, each.prediction_id) for name, each in zip(names, rows, strict=True))
    )


TAGS = TagSettings(keys=("site",))


@pytest.fixture(scope="module")
def served(published_once: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger that `scene` copies."""
    path, card = tmp_path_factory.mktemp("served") / "ledger.db", published_once.read("tiny").card
    with MonitoredModel(path, Clock(), card=card, tags=TAGS) as monitored:
        serve(monitored)
    return path


@pytest.fixture
def scene(served: Path, tmp_path: Path, clock: Clock, store: Store) -> Iterator[MonitoredModel]:
    path, card = shutil.copy(served, tmp_path), store.read("tiny").card
    with MonitoredModel(Path(path), clock, card=card, tags=TAGS) as monitored:
        yield monitored


def only(group: str = "site=B,site=E") -> AnswerFilter:
    return AnswerFilter(group=read_group(group))


def test_a_remedy_for_all_shows_whom_it_harms_and_is_not_published(
    scene: MonitoredModel, store: Store
) -> None:
    draft = recalibrate(scene.ledger, store, "tiny", publish=False)
    effects = {(each.group.key, *each.group.values): each for each in draft.proposal.effects}
    assert {key[0] for key in effects} == {"tag:site", "tag:device", "predicted"}
    for site in SITES:
        effect = effects["tag:site", site]
        assert effect.n == N / len(SITES)
        if site in WRONG:
            assert effect.before > max(0.3, effect.after + 0.1)
        else:
            assert (abs(effect.before) < 0.05, effect.after < -0.04) == (True, True)
        assert effect.harms is (site not in WRONG)
    with pytest.raises(RecalibrationHarms, match=r"site=A.*for_.*accept_harm=True"):
        recalibrate(scene.ledger, store, "tiny")
    assert store.versions("tiny") == [1]
    assert "site=A" in " ".join(RecalibrationPreview(draft).warnings)
    assert recalibrate(scene.ledger, store, "tiny", accept_harm=True).card.version == 2


def test_the_two_sites_alone_are_repaired_and_nobody_else_changes(
    scene: MonitoredModel, store: Store
) -> None:
    done = recalibrate(scene.ledger, store, "tiny", answer_filter=only())
    assert done.labels == N / 4
    assert done.before.signed_gap > 0.35 > 0.1 > done.after.signed_gap
    assert not done.proposal.harmed
    sites = [each.group.values for each in done.proposal.effects if each.group.key == "tag:site"]
    assert sorted(sites) == [("B",), ("B", "E"), ("E",)]
    old, new = store.read("tiny", 1), store.read("tiny", 2)
    assert old.onnx == new.onnx
    assert old.card.referral == new.card.referral
    (entry,) = new.card.calibration.subgroups or ()
    assert (entry.key, entry.values) == ("site", WRONG)
    assert (entry.labels, entry.held_out) == (done.proposal.fitted_on, done.proposal.held_out)
    assert entry.before["signed_gap"] == done.before.signed_gap
    assert entry.after["signed_gap"] == done.after.signed_gap
    assert new.card.calibration.bins == old.card.calibration.bins


def test_a_later_fit_of_the_same_sites_continues_the_first(
    scene: MonitoredModel, store: Store, tmp_path: Path, clock: Clock
) -> None:
    first = recalibrate(scene.ledger, store, "tiny", answer_filter=only()).card
    with MonitoredModel(tmp_path / "next.db", clock, card=first) as later:
        serve(later, wrong=(), seed=1)  # repaired at the source: now the sites are underconfident
        second = recalibrate(later.ledger, store, "tiny", version=2, answer_filter=only())
    (old,), (new,) = first.calibration.subgroups or (), second.card.calibration.subgroups or ()
    assert second.old_temperature == old.temperature
    assert new.temperature == pytest.approx(
        old.temperature / second.proposal.affine.weight[0], rel=1e-9
    )
    assert new.temperature == pytest.approx(1.0, abs=0.15)  # both together: as in the beginning


def test_a_remedy_for_all_keeps_what_the_subgroups_calibrator_did(
    scene: MonitoredModel, store: Store, tmp_path: Path, clock: Clock
) -> None:
    first = recalibrate(scene.ledger, store, "tiny", answer_filter=only()).card
    rng = np.random.default_rng(5)
    with MonitoredModel(tmp_path / "next.db", clock, card=first) as later:
        calibrators = AnswerCalibrators(first.model_dump())
        rows, names = [], []
        for number in range(2_000):
            tags = json.dumps({"site": SITES[number % 8]})
            served = calibrators.of(tags)(softmax(rng.normal(0, 6, 3)).astype("<f4"))
            true = softmax(np.log(served.astype(float)) / 2)
            rows.append(row_of(number, served, tags=tags))
            names.append(first.classes[int(draw(rng, true[np.newaxis])[0])])
        later.serve(*rows)
        pairs = zip(names, rows, strict=True)
        later.label(*(FeedbackItem(name, each.prediction_id) for name, each in pairs))
        done = recalibrate(later.ledger, store, "tiny", version=2, accept_harm=True)
    affine = done.proposal.affine
    assert done.proposal.remedy == "temperature"
    moved = AnswerCalibrators(done.card.model_dump())
    graph = softmax(rng.normal(0, 3, (20, 3)))
    new_graph = affine(np.log(graph)).astype("<f4")
    for site in ("A", "B"):
        tags = json.dumps({"site": site})
        once = calibrators.of(tags)(graph.astype("<f4"))
        np.testing.assert_allclose(
            moved.of(tags)(new_graph), affine(np.log(once.astype(float))), atol=1e-5
        )


def test_promises_of_the_subgroup_are_its_own_or_dropped_with_a_word(
    tmp_path: Path, clock: Clock, store: Store
) -> None:
    sets = ConformalCard(alpha=0.1, threshold=0.2, mean_set_size=1.5, coverage_reference=0.9)
    bundle = store.read("tiny", 1)

    def build(folder: Path, version: int) -> None:
        from model_store.bundle.bundle import write_bundle

        card = bundle.card.model_copy(update={"version": version, "conformal": sets, "files": {}})
        write_bundle(folder, card=card, onnx=bundle.onnx)

    store.publish("tiny", build)
    card = store.read("tiny", 2).card
    with MonitoredModel(tmp_path / "sets.db", clock, card=card) as monitored:
        serve(monitored)
        done = recalibrate(monitored.ledger, store, "tiny", version=2, answer_filter=only())
    (entry,) = done.card.calibration.subgroups or ()
    assert entry.referral is None  # nothing promises 90 % where a third are right
    assert entry.conformal.coverage_reference >= 0.9
    assert entry.conformal.threshold != sets.threshold
    (sentence,) = done.dropped
    assert "site=B, site=E" in sentence
    assert done.card.conformal == sets
    by = AnswerCalibrators(done.card.model_dump()).of('{"site": "B"}')
    assert by.refers(1.0) is True


@pytest.mark.parametrize(
    ("group", "least", "message"),
    [
        ("site=Z", 500, "Got 0 labeled answers .* with site=Z"),
        ("device=X", 500, r"Got 400 .* with device=X"),
        ("site=A", 100, "No remedy improves"),
    ],
)
def test_few_labels_of_a_subgroup_and_a_calibrated_one_are_refused(
    scene: MonitoredModel, store: Store, group: str, least: int, message: str
) -> None:
    with pytest.raises(RecalibrationRefused, match=message):
        recalibrate(scene.ledger, store, "tiny", answer_filter=only(group), min_labels=least)


def test_what_is_no_subgroup_is_refused() -> None:
    for text in ["", "site", "site=", "=B", "site=B,device=X", "a b=1"]:
        with pytest.raises(TagsInvalid):
            read_group(text)


def test_the_command_refuses_harm_unless_it_is_accepted_and_repairs_the_sites_alone(
    scene: MonitoredModel, store: Store, tmp_path: Path
) -> None:
    where = ("--ledger", f"sqlite:///{tmp_path / 'ledger.db'}", "--store", str(store.root))
    run = partial(candor_here, "recalibrate", "tiny", *where)
    assert "worse" in run("--preview").stdout
    assert isinstance(run().exception, RecalibrationHarms)
    assert run("--for", "site").exit_code == 2
    done = json.loads(run("--for", "site=B,site=E", "--json").stdout)
    assert (done["group"], done["harmed"], done["card"]["version"]) == ("site=B, site=E", [], 2)
    assert {each["group"]["key"] for each in done["effects"]} == {
        "tag:site",
        "tag:device",
        "predicted",
    }
    assert isinstance(run("--accept-harm").exception, RecalibrationRefused)  # that one waits
    retire(store, "tiny", 2)
    assert run("--accept-harm").exit_code == 0
    assert store.versions("tiny") == [1, 2, 3]
    assert store.read("tiny", 3).card.calibration.subgroups is None  # it starts from production


def test_one_recalibration_waits_at_a_time(
    scene: MonitoredModel, store: Store, tmp_path: Path
) -> None:
    fit = partial(recalibrate, scene.ledger, store, "tiny", accept_harm=True)
    first = AnswerFilter(group=read_group("site=B"))
    assert fit(answer_filter=first).card.version == 2
    with pytest.raises(RecalibrationRefused, match=r"retire it \(`candor models retire tiny 2`\)"):
        fit(answer_filter=AnswerFilter(group=read_group("site=E")), publish=False)
    retire(store, "tiny", 2)
    both = fit(answer_filter=AnswerFilter(group=read_group("site=B,site=E"))).card
    (entry,) = both.calibration.subgroups or ()
    assert (both.version, entry.values) == (3, WRONG)
    store.promote("tiny", 3)
    store.promote("tiny", 1)  # it was tried, and rolled back
    assert fit(answer_filter=first).card.version == 4
