"""Whether a diagnosis, as JSON, tells what is true of a scene."""

from typing import Any

import msgspec

from calibration.diagnosis.inference import infer
from tests.builders.diagnosis.scene import CURES, Truth, Where
from tests.builders.diagnosis.world import DAY_S, DAYS, World

Facts = dict[str, Any]


def said_of(world: World) -> Facts:
    """What the inference says of a world, as JSON."""
    facts: Facts = msgspec.json.decode(msgspec.json.encode(infer(world.answers())))
    return facts


def grades(truth: Truth, said: Facts, start_s: float = 0.0) -> dict[str, bool]:
    """Who, since, healed, causes and open questions: right or wrong, as far as a scene has them.

    Args:
        truth: of the scene.
        said: an inference or a diagnosis as JSON.
        start_s: when the first of the hundred days began.
    """
    found = {"causes": _causes(truth, said)} if truth.causes else {}
    named = said["deviations"]
    if not truth.healed:
        named = [each for each in named if each["until"] is None]
    if truth.who is not None:
        found["who"] = _who(truth, named)
    if truth.healed and named:
        found["healed"] = all(each["until"] is not None for each in named)
    if truth.since is not None and named and found.get("who"):
        when = start_s + truth.since * DAYS * DAY_S
        found["since"] = all(_covers(each["since"], truth.since, when) for each in named)
    if truth.open:
        found["open"] = set(truth.open) <= {where(each["group"]) for each in said["open"]}
    return found


def faults(truth: Truth, diagnosis: Facts, start_s: float) -> list[str]:
    """What is wrong with a diagnosis: codes, those that would harm somebody begin with `!`."""
    found, state = [], diagnosis["state"]
    if truth.states and state not in truth.states:
        found.append(f"{'!' if state in truth.dangerous else ''}state={state}")
    possible = [each["code"] for each in diagnosis["actions"] if each["available"]]
    first = possible[0] if possible else ""
    if truth.acts and first not in truth.acts:
        found.append(f"act={first}")
    offered = [code for code in truth.never if code in possible]
    found += [f"{'!' if code in CURES else ''}offers={code}" for code in offered]
    graded = grades(truth, diagnosis, start_s) if state in ("alarm", "look") else {}
    return found + [name for name, is_right in graded.items() if not is_right]


def where(group: Facts) -> Where:
    """A group as scenes name it; answers without a tag are of no group that could be named."""
    if group["within"]:
        keys = sorted([group["key"], group["within"]["key"]])
        return "&".join(keys), frozenset(group["values"] + group["within"]["values"])
    if group["key"] == "confidence":
        return "confidence", frozenset()
    return group["key"], frozenset(filter(None, group["values"]))


def _who(truth: Truth, named: list[Facts]) -> bool:
    named = [each for each in named if each["group"]["values"] != [""]]
    if truth.lenient and not named:
        return True
    found = _united(named)
    ambiguous = {where(group) for each in named for group in each["others"]}
    wanted = truth.who or ()
    if len(found) != len(wanted):
        if len(wanted) < 2 or len(wanted) != len(named):
            return False
        found = [where(each["group"]) for each in named]
    return all(
        any(
            name == accepted[0] or (name in accepted and accepted[0] in ambiguous) for name in found
        )
        for accepted in wanted
    )


def _united(deviations: list[Facts]) -> list[Where]:
    """Groups of one key and direction as one."""
    by_key: dict[tuple[str, bool], set[str]] = {}
    for each in deviations:
        key, values = where(each["group"])
        by_key.setdefault((key, each["inside"]["gap"]["estimate"] > 0), set()).update(values)
    return [(key, frozenset(values)) for (key, _), values in by_key.items()]


def _covers(since: Facts, share: float, when: float) -> bool:
    if share == 0:
        return since["earliest"] is None
    return (since["earliest"] or 0) <= when <= since["latest"]


def _causes(truth: Truth, said: Facts) -> bool:
    status = {each["cause"]: each["status"] for each in said["rivals"]}
    return all(status.get(cause) in wanted for cause, wanted in truth.causes.items())
