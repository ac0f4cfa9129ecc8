"""`candor ledger`: maintenance of a ledger."""

import dataclasses
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from calibration.wording import counted, parameter
from candor.commands.options import WrongUse, ledger_url, open_ledger
from candor.terminal.verb_result import PlainResult


def check(*, repair: bool = False, ledger: str | None = None) -> PlainResult:
    """Recount labels, sums and detectors from the answers and compare.

    The exit code is 1 if something differs and is not repaired.

    Example: candor ledger check

    Args:
        repair: Correct what differs.
    """
    from candor.terminal.progress import bars
    from monitoring.maintenance import recount

    with open_ledger(ledger, reading=not repair) as opened, bars() as progress:
        found = (recount.repair if repair else recount.check)(opened, progress=progress)
    lines = (
        f"{table}: {where}: found {was}, expected {expected}"
        for table, where, was, expected in found.differences
    )
    counts = (found.answers, found.labels, found.day_sums, found.detectors)
    nouns = ("answer", "label", "day sum", "detector")
    checked = ", ".join(counted(count, noun) for count, noun in zip(counts, nouns, strict=True))
    wrong = ", ".join(f"{count:,} in {table}" for table, count in found.differing.items())
    verdict = (
        "all agree"
        if found.agrees
        else f"{wrong} {'differed, now repaired' if repair else 'differ'}"
    )
    return PlainResult(
        dataclasses.asdict(found) | {"differences": [row._asdict() for row in found.differences]},
        *lines,
        f"{checked}: {verdict}",
        failed=not found.agrees and not repair,
    )


def prune(*, older_than: str, trust_clock: bool = False, ledger: str | None = None) -> PlainResult:
    """Delete old answers and their labels.

    The day sums stay, so reports do not change. A label that arrives later for a deleted answer
    gets the status `expired`.

    Example: candor ledger prune --older-than 90d

    Args:
        older_than: Age limit such as 90d, 12w or 36h; whole UTC days are deleted.
        trust_clock: Delete although the ledger was last in use a week ago, or later than now.
    """
    from candor.terminal.progress import bars
    from monitoring.maintenance import clock, retention

    older_than_s = _seconds(older_than)
    with open_ledger(ledger) as opened, bars() as progress:
        now_ns = opened.clock()
        (clock.trust if trust_clock else clock.check_absence)(opened, now_ns)
        pruned = retention.prune(
            opened, older_than_s=older_than_s, progress=progress, now_ns=now_ns
        )
    before = datetime.fromtimestamp(pruned.before_ns / 1e9, UTC).date()
    answers, labels = counted(pruned.answers, "answer"), counted(pruned.labels, "label")
    return PlainResult(
        dataclasses.asdict(pruned), f"Deleted {answers} served before {before} (UTC) and {labels}."
    )


def forget(
    *, request_id: str | None = None, prediction_id: str | None = None, ledger: str | None = None
) -> PlainResult:
    """Erase answers with their tags, their labels and their share of the sums.

    The exit code is 1 if there was nothing to erase.

    Example: candor ledger forget --request-id scan.png

    Args:
        request_id: Erase every answer with this request id.
        prediction_id: Erase the answer with this id.
    """
    from uuid import UUID

    from monitoring.maintenance import erasure

    if (request_id is None) == (prediction_id is None):
        raise WrongUse(f"give either {parameter('request_id')} or {parameter('prediction_id')}")
    try:
        key = None if prediction_id is None else UUID(prediction_id).bytes
    except ValueError:
        raise WrongUse(
            f"{parameter('prediction_id')} must be the UUID from an answer; got {prediction_id!r}"
        ) from None
    with open_ledger(ledger) as opened:
        erased = erasure.forget(opened, prediction_id=key, request_id=request_id)
    answers, labels = counted(erased.answers, "answer"), counted(erased.labels, "label")
    return PlainResult(
        dataclasses.asdict(erased),
        f"Erased {answers}, {labels} and {counted(erased.waiting, 'waiting label')}.",
        failed=not (erased.answers or erased.waiting),
    )


def export(file: Path, *, model: str | None = None, ledger: str | None = None) -> PlainResult:
    """Write one row per answer, with its current label, for other programs.

    Example: candor ledger export answers.csv --model chest

    Args:
        file: File to write, .parquet or .csv.
        model: Only this model's answers (default: all).
    """
    from candor.terminal.progress import bars
    from monitoring.maintenance.export import export as write

    with open_ledger(ledger, reading=True) as opened, bars() as progress:
        count = write(opened, file, model=model, progress=progress)
    return PlainResult({"file": str(file), "answers": count}, f"{file}: {counted(count, 'answer')}")


def acknowledge(
    model: str,
    *,
    note: str,
    version: int | None = None,
    finding: str | None = None,
    tag: str | None = None,
    chosen_labels: bool = False,
    ledger: str | None = None,
) -> PlainResult:
    """Acknowledge the drift alarm of a model, which restarts its watch.

    The exit code is 1 if there is no such alarm.

    Example: candor ledger acknowledge chest --note "window repaired"

    Args:
        model: The model whose drift alarm it is.
        note: What was found, and done; it is kept in the history.
        version: Version (default: the one registered last).
        finding: Whose alarm, of a model that has findings.
        tag: Whose alarm: site=B, or scope:doubtful (default: all).
        chosen_labels: The labels were chosen by their outcome: audited answers alone count from now
            on.
    """
    from monitoring.drift import acknowledgment
    from monitoring.drift.tag_settings import watch_of
    from monitoring.errors import TagNotWatched
    from monitoring.ledger.locks import Lock, lock
    from monitoring.ledger.versions import choose
    from monitoring.ledger.watched_version import named

    with open_ledger(ledger) as opened, opened.write() as connection:
        row = choose(connection, model, version, finding)
        lock(connection, Lock.VERSION, row.watched_version_id)
        restart = acknowledgment.acknowledge(
            connection,
            row.watched_version_id,
            note=note,
            now_ns=opened.clock(),
            chosen_labels=chosen_labels,
            name=watch_of(tag),
        )
    if restart is None:
        raise TagNotWatched(tag or "", model, row.version)
    data = {
        "model": model,
        "version": row.version,
        **named(row.finding),
        "restarted": not restart.unchanged,
        "reason": restart.unchanged or None,
    }
    restarted = f"{row.title} version {row.version}: the watch starts again"
    return PlainResult(data, restart.unchanged or restarted, failed=bool(restart.unchanged))


def sources(model: str, policies: Sequence[str] = (), *, ledger: str | None = None) -> PlainResult:
    """Say what the labels of each source count as.

    Only truths reach the sums, the drift watch and recalibrations. A proxy is compared with truths,
    and an ignored label is kept. Sources without a policy are truth. After a change, labels that
    arrived before are counted again.

    Example: candor ledger sources chest report=proxy test=ignore

    Args:
        model: The model whose labels these are.
        policies: Policies to set: a source, '=', and truth, proxy or ignore. None: show them.
    """
    from monitoring.drift.source_change import change_sources
    from monitoring.ledger.versions import family
    from monitoring.ledger.watched_version import read_policies
    from monitoring.sources import read_pairs

    asked = read_pairs(policies or [])
    with open_ledger(ledger, reading=not asked) as opened:
        done = change_sources(opened, model, asked) if asked else None
        with opened.read() as connection:
            family(connection, model)
            found = read_policies(connection, [model])[model].named
    lines = [f"{source}: {policy}" for source, policy in found.items()]
    lines = lines or ["no source has a policy; every label is truth"]
    if done is not None:
        counts = {"label": done.labels, "answer": done.answers}
        again = " of ".join(counted(count, noun) for noun, count in counts.items())
        lines.append(f"counted again: {again}; alarms ended: {done.cleared}, raised: {done.raised}")
    changed = None if done is None else dataclasses.asdict(done)
    return PlainResult({"model": model, "policies": found, "changed": changed}, *lines)


def backup(file: Path, *, ledger: str | None = None) -> PlainResult:
    """Back up a SQLite ledger while servers write to it.

    Example: candor ledger backup copy.db

    Args:
        file: File to write the copy to.
    """
    from monitoring.maintenance.backup import backup as copy
    from monitoring.maintenance.backup import note_backup

    with open_ledger(ledger) as opened:
        size_bytes = copy(opened, file)
        note_backup(opened)
    return PlainResult({"file": str(file), "bytes": size_bytes}, f"{file}: {size_bytes:,} bytes")


def restore(file: Path, *, ledger: str | None = None, replace: bool = False) -> PlainResult:
    """Put a backup in the place of a SQLite ledger. Stop its servers and monitors first.

    Answers and labels after the backup are not in it. What was there is kept beside it, and never
    deleted.

    Example: candor ledger restore copy.db --replace

    Args:
        file: Backup to put in the place of the ledger.
        replace: Keep a ledger that exists beside it.
    """
    from monitoring.maintenance.backup import restore as put

    found = put(ledger_url(ledger), file, replace=replace)
    newest = ""
    if found.last_ns is not None:
        at = datetime.fromtimestamp(found.last_ns / 1e9, tz=UTC)
        newest = f"; the newest answer is of {at.isoformat(timespec='seconds')}"
    held = f"{counted(found.answers, 'answer')} and {counted(found.labels, 'label')}"
    kept = [] if found.kept is None else [f"kept what was there as {found.kept}"]
    return PlainResult(dataclasses.asdict(found), f"{found.file} holds {held}{newest}", *kept)


def _seconds(text: str) -> float:
    """Return a time span such as 90d in seconds.

    >>> _seconds("90d"), _seconds("36h")
    (7776000.0, 129600.0)
    """
    found = re.fullmatch(r"([0-9]{1,6})([hdw])", text.strip())
    if found is None:
        raise WrongUse(f"expected a number with h, d or w, such as 90d; got {text!r}")
    return float(found[1]) * {"h": 3600, "d": 86_400, "w": 604_800}[found[2]]
