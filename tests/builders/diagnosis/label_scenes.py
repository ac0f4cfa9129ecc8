"""Scenes whose labels are wrong, chosen, missing, old or of several sources, and other causes."""

import numpy as np

from calibration.diagnosis.facts import Cause, RivalStatus
from tests.builders.diagnosis.scene import (
    CURES,
    NEVER_CLEAR,
    QUIET,
    TROUBLE,
    Truth,
    at,
    calm,
    doubt,
    group,
    scene,
    whole,
)
from tests.builders.diagnosis.world import World, patients, world

ALL_OF_IT, PART = RivalStatus.EXPLAINS_ALL, RivalStatus.EXPLAINS_PART
POSSIBLE = RivalStatus.POSSIBLE
MIXED = np.array([0.6, 0.3, 0.1])
SICKER = np.array([0.15, 0.25, 0.6])
AUDITED = {"states": ("healed", "fine"), "acts": ("acknowledge", ""), "dangerous": TROUBLE}
READ_AGAIN = {"acts": ("second_readings",)}
MIX = {"acts": ("adjust_case_mix",), "never": ("recalibrate",), "states": TROUBLE}


def _misread(w: World, share: float) -> None:
    w.misread(w.chance(share))


CORRECTED = {Cause.CORRECTED: (ALL_OF_IT,)}


@scene(Truth(causes=CORRECTED, states=("healed", "fine"), acts=("acknowledge", ""), never=CURES))
def corrected_labels(w: World) -> None:
    right, hit = w.label.copy(), w.after(0.5) & ~w.after(0.75) & w.chance(0.35)
    w.misread(hit)
    w.first, w.label = w.label, right


@scene(
    doubt(
        Cause.NOISE,
        POSSIBLE,
        ALL_OF_IT,
        dangerous=(),
        acts=("second_readings", ""),
        states=(*TROUBLE, *QUIET),
    ),
    n=6000,
    classes=2,
    sharpness=3.0,
)
def reader_noise(w: World) -> None:
    _misread(w, 0.06)


@scene(doubt(Cause.NOISE, POSSIBLE, ALL_OF_IT, never=()), sharpness=3.2)
def reader_noise_five_classes(w: World) -> None:
    """A second reader joins, who errs more often."""
    w.misread(w.chance(np.where(w.after(0.5), 0.1, 0.03)))


@scene(doubt(Cause.SELECTION, ALL_OF_IT, **AUDITED), n=12_000)
def chosen_labels(w: World) -> None:
    """A tenth is drawn; of the others mostly wrong answers were labeled."""
    w.labeled = w.audit(0.1) | w.chance(np.where(w.wrong, 0.5, 0.1))


@scene(doubt(Cause.SELECTION, POSSIBLE, acts=("audit",)), n=10_000)
def chosen_labels_without_audit(w: World) -> None:
    w.labeled = w.chance(np.where(w.wrong, 0.6, 0.15))


POSITIVES = np.array([0.8, 0.2])


@scene(
    doubt(Cause.SELECTION, POSSIBLE, acts=("audit",)), classes=2, sharpness=2.2, shares=POSITIVES
)
def register_of_positives(w: World) -> None:
    w.labeled = w.label == 1


@scene(doubt(Cause.FOLLOWED, POSSIBLE, **READ_AGAIN), classes=3, sharpness=1.8)
def labels_follow_the_model(w: World) -> None:
    """Readers who see the answer take over six in ten of those that are wrong."""
    hit = w.after(0.5) & w.wrong & w.chance(0.6)
    w.label = np.where(hit, w.predicted, w.label)


@scene(doubt(Cause.CODING, ALL_OF_IT, **READ_AGAIN), classes=2, sharpness=2.4)
def labels_inverted_at_one_site(w: World) -> None:
    w.label = np.where((w.site == 1) & w.after(0.3), 1 - w.label, w.label)


FOLLOWED = np.array([0.85, 0.15])


@scene(
    doubt(Cause.SELECTION, POSSIBLE, acts=("audit",)),
    n=6000,
    classes=2,
    sharpness=2.4,
    shares=FOLLOWED,
)
def biopsies(w: World) -> None:
    """All positives are followed up; of the negatives those that came back with disease."""
    w.labeled = (w.predicted == 1) | w.chance(np.where(w.wrong, 0.7, 0.05))


@scene(doubt(Cause.SELECTION, POSSIBLE, acts=("complete_audit",)), n=20_000)
def audit_labels_missing(w: World) -> None:
    """Sixteen percent of drawn labels never came, mostly of wrong answers."""
    w.shift(np.ones(w.n, bool), -0.9)
    w.labeled = w.audit(0.25) & ~w.chance(np.where(w.wrong, 0.6, 0.02))


@scene(
    doubt(
        Cause.SELECTION,
        POSSIBLE,
        who=(),
        states=("unknown",),
        open=(at("site", 2),),
        acts=("label", "audit"),
    ),
    sites=4,
)
def unlabeled_site(w: World) -> None:
    """One site has no labels: unknown, not fine."""
    w.sharpen(w.site == 2, 4.0)
    w.labeled = w.site != 2


NOT_FINE = {"dangerous": ("fine",), "never": CURES}


@scene(Truth(states=("unknown",), acts=("label", "audit"), **NOT_FINE), n=1500)
def no_labels(w: World) -> None:
    w.labeled[:] = False


@scene(Truth(states=("stale",), acts=("label",), **NOT_FINE))
def labels_stopped(w: World) -> None:
    w.labeled = ~w.after(0.69)


@scene(Truth(states=("stale",), acts=("check_callers",), **NOT_FINE))
def no_answers_for_22_months(w: World) -> None:
    w.ended_days_ago = 670.0


@scene(doubt(Cause.PATIENTS, *NEVER_CLEAR, who=(), acts=("send_patients",)), n=4000)
def unknown_patients_explain(w: World) -> None:
    """Twenty images of a patient, all alike, look like drift."""
    patients(w, 20, alike=True, apart=False, known=False)


@scene(doubt(Cause.PROXY, ALL_OF_IT, **READ_AGAIN), classes=2, sharpness=2.2)
def mined_labels_undeclared(w: World) -> None:
    """Labels mined from reports miss three in ten of a class; readers label a sixth."""
    reader = w.chance(0.16)
    w.misread(~reader & (w.label == 1) & w.chance(0.3))
    w.labeled_by(("report", "reader"), reader)


@scene(doubt(Cause.PROXY, *NEVER_CLEAR, **READ_AGAIN), classes=2, sharpness=2.2)
def mined_labels_at_one_site(w: World) -> None:
    """Readers label all sites but one."""
    reader = w.site != 1
    w.misread(~reader & (w.label == 1) & w.chance(0.3))
    w.labeled_by(("report", "reader"), reader)


@scene(calm(who=None, acts=("", "label", "audit")), n=6000)
def mined_labels_declared(w: World) -> None:
    """Labels mined from reports, one in five wrong, are declared a proxy."""
    reader = w.chance(0.1)
    w.misread(~reader & w.chance(0.2))
    w.labeled_by(("report", "reader"), reader)
    w.proxy = "report"


# Other shares of the true classes.


def _mixed(rng: np.random.Generator, live: np.ndarray, sharpness: float = 1.8) -> World:
    w = world(rng, n=len(live), classes=3, sharpness=sharpness, shares=MIXED, live=live)
    w.tag("site", 8)
    return w


@whole(doubt(Cause.CASE_MIX, ALL_OF_IT, **MIX))
def case_mix(rng: np.random.Generator) -> World:
    return _mixed(rng, np.repeat([MIXED, SICKER], 2500, axis=0))


@whole(doubt(Cause.CASE_MIX, ALL_OF_IT, PART, never=(), states=(*TROUBLE, "healed")))
def case_mix_seasonal(rng: np.random.Generator) -> World:
    """Shares of the classes swing over the year, and are at its end as they were."""
    swing = (1 - np.cos(np.linspace(0, 2 * np.pi, 6000)))[:, None] / 2
    return _mixed(rng, (1 - swing) * MIXED + swing * [0.2, 0.2, 0.6])


@scene(
    doubt(Cause.CASE_MIX, ALL_OF_IT, never=(), states=TROUBLE),
    sites=4,
    n=4000,
    classes=2,
    sharpness=2.0,
    shares=np.array([0.9, 0.1]),
    live=np.array([0.3, 0.7]),
)
def case_mix_always(w: World) -> None:
    """A screening model at a clinic: other shares from the first answer on."""


@whole(
    doubt(
        Cause.CASE_MIX,
        ALL_OF_IT,
        never=("recalibrate", "adjust_case_mix"),
        states=TROUBLE,
        acts=("recalibrate_group", "find_cause"),
    )
)
def case_mix_at_one_site(rng: np.random.Generator) -> World:
    """One new site sends sicker patients."""
    site = rng.integers(0, 6, 6000)
    w = _mixed(rng, np.where((site == 4)[:, None], [0.2, 0.2, 0.6], MIXED))
    w.site[:] = site
    return w


def _mixed_and_site(w: World, later: np.ndarray, since: float, by: float) -> World:
    """Shares changed at 40 %, as the world was made; a site errs since then or earlier."""
    late = np.arange(w.n)[:, None] >= 0.4 * w.n
    p = w.probabilities * np.where(late, later / w.shares, 1)
    w.right = (p[np.arange(w.n), w.predicted] / p.sum(axis=1)).clip(1e-6, 1 - 1e-6)
    w.luck = w.rng.random(w.n)
    w.shift((w.site == 3) & w.after(since), by)
    return w


BESIDE = group(at("site", 3), causes={Cause.CASE_MIX: (PART,)}, acts=(), never=())


@whole(BESIDE)
def case_mix_and_site(rng: np.random.Generator) -> World:
    live = np.repeat([MIXED, SICKER], [3200, 4800], axis=0)
    return _mixed_and_site(_mixed(rng, live, sharpness=2.0), SICKER, 0.4, -2.6)


@whole(BESIDE)
def case_mix_after_site(rng: np.random.Generator) -> World:
    """A site errs by 15 points; later there are more cases of the rarer of two classes."""
    former, later = np.array([0.8, 0.2]), np.array([0.65, 0.35])
    live = np.repeat([former, later], [3200, 4800], axis=0)
    w = world(rng, n=8000, classes=2, sharpness=2.0, shares=former, live=live)
    w.tag("site", 8)
    return _mixed_and_site(w, later, 0.2, -1.6)
