"""A recalibration that waits for promotion: the next one of the same version keeps what it changes
elsewhere, so that one promotion serves all.

Both were fitted on answers of their parent. So they stand together where each answer goes through
one of them at most: remedies of different findings, or of different values of one tag.
"""

from typing import Any, NamedTuple

from model_store.bundle.calibration_card import CalibrationCard, SubgroupCalibration
from model_store.bundle.card import Card
from model_store.bundle.finding_card import FindingCard
from model_store.store.history import tried_versions
from model_store.store.retirement import retirements
from model_store.store.store import Store
from monitoring.recalibration.finding import with_answers


class Joined(NamedTuple):
    """A card with what another one changed.

    `keeps`: the other's version, if it has a remedy of it; `omits`: if it lacks one that it does
    not replace.
    """

    card: Card
    keeps: int | None = None
    omits: int | None = None


def waiting(store: Store, parent: Card) -> Card | None:
    """Return the card of the newest recalibration of a version that nobody has promoted, retired,
    or ended the canary of; None without one.
    """
    name = parent.name
    over = tried_versions(store.storage, name) | set(retirements(store.storage, name))
    for version in reversed(store.versions(name)):
        if version > parent.version and version not in over:
            card = store.read(name, version, signed=False).card
            if card.provenance.parent_version == parent.version:
                return card
    return None


def join(parent: Card, pending: Card, new: Card) -> Joined:
    """Return `new` with what `pending`, another recalibration of `parent`, changed elsewhere."""
    each: list[tuple[Any, bool, bool]] = [
        _join(*three)
        for three in zip(*(card.answers for card in (parent, pending, new)), strict=True)
    ]
    answers, keeps, omits = zip(*each, strict=True)
    card = with_answers(new, answers)
    if any(keeps):
        dropped = (*(pending.dropped_promises or ()), *(new.dropped_promises or ()))
        card = card.model_copy(update={"dropped_promises": tuple(dict.fromkeys(dropped)) or None})
    version = pending.version
    return Joined(card, version if any(keeps) else None, version if any(omits) else None)


def _join(
    parent: Card | FindingCard, pending: Card | FindingCard, new: Card | FindingCard
) -> tuple[Card | FindingCard, bool, bool]:
    """Do the same for one finding, or for exclusive classes: the card's part, `keeps`, `omits`."""
    old, theirs, mine = (each.calibration for each in (parent, pending, new))
    if theirs == old:
        return new, False, False
    if mine == old:
        return pending, True, False
    whole = [_for_all(each) != _for_all(old) for each in (theirs, mine)]
    if any(whole):  # two of them: the later one replaces the earlier
        return new, False, not all(whole)
    before, after = old.subgroups or (), theirs.subgroups or ()
    fitted = [each for each in mine.subgroups or () if each not in before]
    others = [
        each
        for each in after
        if each not in before and not any(_contains(one, each) for one in fitted)
    ]
    if any(
        one.key != each.key or {*one.values} & {*each.values} for one in fitted for each in others
    ):
        return new, False, True
    kept = [each for each in mine.subgroups or () if each in before and each in after]
    calibration = mine.model_copy(update={"subgroups": (*kept, *others, *fitted)})
    return new.model_copy(update={"calibration": calibration}), bool(others), False


def _for_all(calibration: CalibrationCard) -> CalibrationCard:
    return calibration.model_copy(update={"subgroups": None})


def _contains(one: SubgroupCalibration, other: SubgroupCalibration) -> bool:
    return one.key == other.key and {*one.values} >= {*other.values}
