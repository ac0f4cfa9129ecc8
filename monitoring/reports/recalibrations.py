"""What became of recalibrations, in the sentences of the history."""

from typing import Any, Final

from calibration.calibrators.remedies import title_of
from calibration.wording import call, counted, percent, typed
from monitoring.diagnosis.vocabulary import terms

PROPOSED: Final = "proposed"  # a process proposes it, and published nothing
PUBLISHED: Final = "published"
PROMOTED: Final = "promoted"
REFUSED: Final = "refused"  # by what `candor recalibrate` refuses
LIMITED: Final = "limited"  # it goes further than the settings allow
FAILED: Final = "failed"  # the store or its files
OUTCOMES: Final = (PROPOSED, PUBLISHED, PROMOTED, REFUSED, LIMITED, FAILED)
BEGUN: Final = "The drift alarm is active, so this process began a recalibration."


def describe_recalibration(detail: dict[str, Any]) -> str:
    """Say what became of a recalibration and what can be done next, from an event's detail."""
    outcome, model, version = detail["outcome"], detail["model"], detail.get("version")
    finding = detail.get("finding")
    cause = (
        "because of the drift alarm" + terms(finding).of.format(finding=finding)
        if detail.get("by") == "alarm"
        else f"by {detail.get('actor') or 'a person'}"
    )
    if outcome in (REFUSED, FAILED):
        return f"No recalibration {cause}: {detail['reason']}"
    if outcome == PROMOTED:
        back = detail["parent_version"]
        return (
            f"Version {version} was promoted {cause}. `candor promote {model} {back}` rolls back."
        )
    if outcome == PUBLISHED:
        note = f" Why: {detail['note']}." if detail.get("note") else ""
        return f"Version {version} was published {cause}{_figures(detail)}.{note} {_next(detail)}"
    with typed():  # a page's reader
        preview = call("recalibrate", model, **detail["options"], preview=True)
    again = f"`{preview}` shows it on the latest labels."
    if outcome == LIMITED:
        return (
            f"A recalibration was not published: {detail['reason']} It is{_figures(detail)[1:]}. "
            f"{again}"
        )
    why = detail.get("reason") or "Nothing was published."
    return f"A recalibration is proposed {cause}{_figures(detail)}. {why} {again}"


def _next(detail: dict[str, Any]) -> str:
    if detail.get("promoting"):
        return "It is to be promoted at once."
    why = f"{detail['reason']} " if detail.get("reason") else ""
    return f"{why}`candor promote {detail['model']} {detail['version']}` puts it into production."


def _figures(detail: dict[str, Any]) -> str:
    """Return the remedy and its effect on held-out labels, as a clause; empty without figures."""
    if "remedy" not in detail:
        return ""
    before, after = detail["ece"]
    said, changed = terms(detail.get("finding")), detail["changed"]
    what = said.changes.format(finding=said.finding)
    changes = f"{changed} of them change {what}" if changed else f"no {said.change} changes"
    return (
        f": {title_of(detail['remedy'], of_one=said.of_one)}, fitted on "
        f"{counted(detail['fitted_on'], 'label')}. "
        f"On the other {counted(detail['held_out'], 'label')} the ECE is {percent(before)} before "
        f"and {percent(after)} after, with a floor of {percent(detail['noise_floor'])}; {changes}"
    )
