"""An alarm in words: which answers raised it, in which direction, and since when."""

from datetime import UTC, datetime
from typing import Any

from monitoring.findings.phrases import answers_in_stream

# Of the log-evidence of an alarm: 20,000 labels of a calibrated model reach about as much.
_CALM_SHARE = 0.7


def describe_alarm(detail: dict[str, Any], tag: str | None = None) -> str:
    """Describe an alarm event; `tag`: whose alarm it is, if not that of all answers."""
    where = answers_in_stream(detail.get("stream", "all"), detail.get("name"))
    if tag is not None:
        where = f"{'all' if where == 'all answers' else where} of them"
    of_tag, their = (f" of answers with {tag}", "their ") if tag is not None else ("", "")
    more_or_less = "less" if detail["direction"] == "over" else "more"
    sentence = (
        f"The alarm{of_tag} was raised at {their}label {detail['labels']:,}, in {where}, which "
        f"were right {more_or_less} often than their confidence said."
    )
    sentence += _by_class(detail)
    since = detail.get("since")
    if not since:
        return sentence
    served = (
        f", on an answer served on {_day(since['served_at_ns'])}"
        if since.get("served_at_ns")
        else ""
    )
    interval = f"95 % interval {since['lower']:,} to {since['upper']:,}"
    first = (
        ", so the error may have been there from the first label on" if since["from_first"] else ""
    )
    return (
        f"{sentence} The drift began around {their}label {since['label']:,} "
        f"({interval}){served}{first}."
    )


def _by_class(detail: dict[str, Any]) -> str:
    """What to add if only a class shows the error: over all classes, errors may cancel."""
    blind = detail.get("without_classes")
    if not blind or blind["log_evalue"] > _CALM_SHARE * blind["log_threshold"]:
        return ""
    return (
        " The error is one by class: when predicted classes are not told apart, the evidence was "
        f"{blind['log_evalue']:.1f} of the {blind['log_threshold']:.1f} that an alarm takes, as a "
        "calibrated model may show too."
    )


def _day(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, tz=UTC).strftime("%d %B %Y").lstrip("0")
