"""What is said about labels: corrections, proxies, second readings, and suspected patients."""

from collections.abc import Iterator

from calibration.wording import counted, percent
from monitoring.diagnosis.facts import Alarm, Diagnosis
from monitoring.diagnosis.vocabulary import (
    ON_CURRENT_LABELS,
    PROXY,
    READINGS,
    SIGNS_OF_PATIENTS,
    SUSPECTED,
)


def label_words(found: Diagnosis) -> Iterator[str]:
    """Say what is known about the labels of a diagnosis."""
    yield from filter(None, map(_on_current_labels, found.alarms))
    for proxy in found.other_labels.proxies:
        yield PROXY.format(
            source=proxy.source or "no source",
            answers=counted(proxy.answers, "answer"),
            both=f"{proxy.discordance.n:,}",
            agreement=percent(proxy.discordance.agreement),
        )
    if found.suspected_patients is not None:
        yield SUSPECTED.format(
            images=f"{found.suspected_patients.images:.1f}",
            worth=f"{found.suspected_patients.design_effect:.1f}",
            sign=SIGNS_OF_PATIENTS[found.suspected_patients.by],
        )
    readings = found.other_labels.second_readings
    if readings.discordance.n:
        yield READINGS.format(
            different=f"{readings.different:,}",
            pairs=f"{readings.discordance.n:,}",
            error=percent((rate := readings.error_rate).estimate),
            interval=f"{percent(rate.lower)} to {percent(rate.upper)}",
        )


def _on_current_labels(alarm: Alarm) -> str:
    now = alarm.on_current_labels
    if now is None:
        return ""
    return ON_CURRENT_LABELS.format(
        labels=counted(now.corrected, "label"),
        tag="" if alarm.tag is None else f" of {alarm.tag.replace('=', ' ')}",
        verdict="be raised, too" if now.active else "not be raised",
        evidence=now.log_evalue,
        limit=now.log_threshold,
    )
