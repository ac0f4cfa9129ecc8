"""Scenes in which the model is calibrated: nobody may be accused, and no remedy offered."""

import numpy as np

from calibration.diagnosis.facts import Cause, RivalStatus
from tests.builders.diagnosis.scene import NEVER_CLEAR, QUIET, TROUBLE, calm, scene, whole
from tests.builders.diagnosis.world import DAY_S, World, patients, world

UNKNOWN_PATIENTS = (*QUIET, *TROUBLE)
SEND = ("send_patients", "", "label")


@scene(calm())
def calibrated(w: World) -> None:
    pass


@scene(calm(), sites=4, n=300, classes=2)
def calm_small(w: World) -> None:
    pass


@scene(calm(states=("unknown",), acts=("label",), dangerous=("fine",)), n=40, classes=3)
def few_labels(w: World) -> None:
    pass


@scene(calm(), n=120, classes=3)
def few_labels_120(w: World) -> None:
    pass


def _three_keys(w: World) -> None:
    for key in ("site", "device", "reader"):
        w.tag(key, 50)


@scene(calm(), sites=0)
def calm_50_values(w: World) -> None:
    _three_keys(w)


@scene(calm(), sites=0)
def calm_50_values_patients(w: World) -> None:
    patients(w, 5, alike=True, apart=False)
    _three_keys(w)


@scene(calm(), sites=0)
def calm_50_values_apart(w: World) -> None:
    patients(w, 3, alike=False, apart=True)
    _three_keys(w)


@scene(calm(states=UNKNOWN_PATIENTS, acts=SEND), sites=0)
def calm_50_values_unknown(w: World) -> None:
    patients(w, 3, alike=False, apart=False, known=False)
    _three_keys(w)


@scene(calm(acts=("", "label", "audit")), sites=0)
def calm_400_rooms(w: World) -> None:
    w.tag("room", 400)


@scene(calm(), n=4000, classes=1000, sharpness=4.2)
def calm_1000_classes(w: World) -> None:
    pass


@scene(calm())
def calm_patients_known(w: World) -> None:
    patients(w, 5, alike=False, apart=True)


@scene(calm(states=UNKNOWN_PATIENTS, acts=SEND))
def calm_every_other_patient_known(w: World) -> None:
    patients(w, 5, alike=True, apart=False)
    patient = np.arange(w.n) // 5
    w.patient = np.where(patient % 2, patient, -1)


@scene(calm(states=("unknown", *TROUBLE), acts=("send_patients",), dangerous=("fine",)))
def calm_patients_unknown(w: World) -> None:
    patients(w, 5, alike=True, apart=False, known=False)


@scene(calm(states=UNKNOWN_PATIENTS, acts=SEND))
def calm_two_images_unknown(w: World) -> None:
    patients(w, 2, alike=False, apart=False, known=False)


@scene(calm(), classes=3, sharpness=4.5)
def calm_confident(w: World) -> None:
    pass


@scene(calm(), classes=2, sharpness=4.0)
def calm_very_sure(w: World) -> None:
    """Confidence of 99.5 %."""
    p = w.rng.uniform(0.992, 0.998, w.n)
    first = w.chance(0.5)
    w.probabilities = np.stack([np.where(first, p, 1 - p), np.where(first, 1 - p, p)], axis=1)
    w.right = p
    w.shift(np.ones(w.n, bool), 0.0)


@scene(calm(), classes=12, sharpness=1.0)
def calm_unsure(w: World) -> None:
    pass


@scene(calm(), classes=3, shares=np.array([0.95, 0.04, 0.01]))
def calm_imbalance(w: World) -> None:
    pass


@scene(calm(), classes=3, sharpness=3.5)
def calm_fitted_temperature(w: World) -> None:
    """The temperature was fitted on 1,000 labels: its error of 4 % is no drift."""
    w.sharpen(np.ones(w.n, bool), float(w.rng.choice([0.96, 1.04])))


@scene(calm())
def tiny_error(w: World) -> None:
    """Half a point: nothing can be known yet; no group may be accused."""
    w.shift(np.ones(w.n, bool), -0.04)


@scene(calm(causes={Cause.SELECTION: (RivalStatus.RULED_OUT,)}))
def calm_due(w: World) -> None:
    """Labels of the last two weeks are still due; wrong answers get theirs later."""
    delay = w.rng.exponential(2, w.n) * (1 + w.wrong)
    w.labeled = w.served_s + delay * DAY_S < w.time(1)


@scene(calm(who=None, states=UNKNOWN_PATIENTS, causes={Cause.SELECTION: NEVER_CLEAR}))
def calm_wrong_first(w: World) -> None:
    """Wrong answers get their labels in a day, right ones in six: the newest look bad."""
    delay = np.where(w.wrong, 1.0, 6.0) * w.rng.uniform(0.8, 1.2, w.n)
    w.labeled = w.served_s + delay * DAY_S < w.time(1)


@scene(calm(who=None, states=UNKNOWN_PATIENTS))
def calm_wrong_late(w: World) -> None:
    """Wrong answers get their labels ten days later than right ones."""
    w.labeled = ~w.wrong | ~w.after(0.9)


@scene(calm(causes={Cause.SELECTION: (RivalStatus.RULED_OUT,)}), n=20_000)
def calm_audit(w: World) -> None:
    w.labeled = w.audit(0.2).copy()


@scene(calm())
def calm_season(w: World) -> None:
    """Winter changes which sites send, not how often the model is right there."""
    late = w.after(0.5)
    w.site[late] = w.rng.choice(8, int(late.sum()), p=np.r_[0.5, np.full(7, 0.5 / 7)])


@whole(calm())
def harder_cases(rng: np.random.Generator) -> World:
    """From the middle on the cases are harder, and the model knows it."""
    easy, hard = (world(rng, n=2_500, classes=3, sharpness=each) for each in (4.0, 1.0))
    for name in ("probabilities", "label", "right", "luck"):
        setattr(easy, name, np.concatenate([getattr(easy, name), getattr(hard, name)]))
    easy.served_s = np.sort(np.concatenate([easy.served_s, hard.served_s]))
    easy.labeled = np.ones(easy.n, bool)
    easy.tag("site", 8)
    return easy
