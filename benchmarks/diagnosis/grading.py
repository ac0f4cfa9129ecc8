"""Whether an inference tells what is true of a scene."""

from benchmarks.diagnosis.scenes import ALL, Truth, Where
from benchmarks.diagnosis.world import DAY_S
from calibration.diagnosis.facts import AnswerGroup, Deviation, Inference


def grades(truth: Truth, said: Inference) -> dict[str, bool]:
    """Who, since, healed and causes, each right or wrong, as far as the scene has a truth of it."""
    found = {"causes": _causes(truth, said)} if truth.causes else {}
    if not truth.any_who:
        found["who"] = _who(truth, said)
    if truth.since is not None and said.deviations and found.get("who"):
        found["since"] = all(_covers(each, truth.since * 100 * DAY_S) for each in said.deviations)
    if truth.who and said.deviations and found.get("who"):
        found["healed"] = all((each.until is not None) == truth.healed for each in said.deviations)
        if truth.who == ((ALL,),) and truth.since is None:  # broken again
            found["healed"] = any(each.until is None for each in said.deviations)
    if truth.open:
        found["open"] = set(truth.open) <= {where(each.group) for each in said.open}
    return found


def where(group: AnswerGroup) -> Where:
    """A group as scenes name it."""
    if group.within:
        keys = sorted([group.key, group.within.key])
        return "&".join(keys), frozenset(group.values + group.within.values)
    if group.key == "confidence":
        return "confidence", frozenset()
    return group.key, frozenset(group.values)


def _who(truth: Truth, said: Inference) -> bool:
    if truth.lenient and not said.deviations:
        return True
    named = _united(said.deviations)
    ambiguous = {where(group) for each in said.deviations for group in each.others}
    wanted = truth.who
    if len(named) != len(wanted):
        single = len(truth.who) > 1 and len(truth.who) == len(said.deviations)
        if not single:
            return False
        named = [where(each.group) for each in said.deviations]
    return all(
        any(
            name == accepted[0] or (name in accepted and accepted[0] in ambiguous) for name in named
        )
        for accepted in wanted
    )


def _united(deviations: tuple[Deviation, ...]) -> list[Where]:
    """Groups of one key and direction as one."""
    by_key: dict[tuple[str, bool], set[str]] = {}
    for each in deviations:
        key, values = where(each.group)
        by_key.setdefault((key, each.inside.gap.estimate > 0), set()).update(values)
    return [(key, frozenset(values)) for (key, _), values in by_key.items()]


def _covers(each: Deviation, when: float) -> bool:
    if when == 0:
        return each.since.earliest is None
    earliest = each.since.earliest
    return (earliest is None or earliest <= when) and when <= each.since.latest


def _causes(truth: Truth, said: Inference) -> bool:
    status = {each.cause: each.status for each in said.rivals}
    return all(status.get(cause) in wanted for cause, wanted in truth.causes.items())
