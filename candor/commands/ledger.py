"""`candor ledger`: maintenance of a ledger."""

import dataclasses
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from calibration.wording import counted
from candor.commands.options import (
    JsonOption,
    LedgerOption,
    argument,
    ledger_url,
    named,
    open_ledger,
    option,
)
from candor.terminal.console import print_json, stdout

app = typer.Typer(
    name="ledger",
    help="Maintain a ledger: check, prune, erase, export, back up; acknowledge, label sources.",
    no_args_is_help=True,
)


@app.command()
def check(
    repair: Annotated[bool, option("Correct what differs.", "--repair")] = False,
    ledger: LedgerOption = None,
    json_out: JsonOption = False,
) -> None:
    """Recount labels, sums and detectors from the answers and compare.

    The exit code is 1 if something differs and is not repaired.

    Example: candor ledger check
    """
    from candor.terminal.progress import bars
    from monitoring.maintenance import recount

    with open_ledger(ledger, reading=not repair) as opened, bars() as progress:
        found = (recount.repair if repair else recount.check)(opened, progress=progress)
    if json_out:
        print_json(
            dataclasses.asdict(found)
            | {"differences": [row._asdict() for row in found.differences]}
        )
    else:
        for table, where, was, expected in found.differences:
            stdout.print(f"{table}: {where}: found {was}, expected {expected}")
        counts = (found.answers, found.labels, found.day_sums, found.detectors)
        nouns = ("answer", "label", "day sum", "detector")
        checked = ", ".join(counted(count, noun) for count, noun in zip(counts, nouns, strict=True))
        wrong = ", ".join(f"{count:,} in {table}" for table, count in found.differing.items())
        verdict = (
            "all agree"
            if found.agrees
            else f"{wrong} {'differed, now repaired' if repair else 'differ'}"
        )
        stdout.print(f"{checked}: {verdict}")
    if not found.agrees and not repair:
        raise typer.Exit(1)


@app.command()
def prune(
    older_than: Annotated[
        str, option("Age limit such as 90d, 12w or 36h; whole UTC days are deleted.")
    ],
    trust_clock: Annotated[
        bool,
        option(
            "Delete although the ledger was last in use a week ago, or later than now.",
            "--trust-clock",
        ),
    ] = False,
    ledger: LedgerOption = None,
    json_out: JsonOption = False,
) -> None:
    """Delete old answers and their labels.

    The day sums stay, so reports do not change. A label that arrives later for a
    deleted answer gets the status `expired`.

    Example: candor ledger prune --older-than 90d
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
    if json_out:
        print_json(dataclasses.asdict(pruned))
        return
    before = datetime.fromtimestamp(pruned.before_ns / 1e9, UTC).date()
    answers, labels = counted(pruned.answers, "answer"), counted(pruned.labels, "label")
    stdout.print(f"Deleted {answers} served before {before} (UTC) and {labels}.")


@app.command()
def forget(
    request_id: Annotated[str | None, option("Erase every answer with this request id.")] = None,
    prediction_id: Annotated[str | None, option("Erase the answer with this id.")] = None,
    ledger: LedgerOption = None,
    json_out: JsonOption = False,
) -> None:
    """Erase answers with their tags, their labels and their share of the sums.

    The exit code is 1 if there was nothing to erase.

    Example: candor ledger forget --request-id scan.png
    """
    from uuid import UUID

    from monitoring.maintenance import erasure

    if (request_id is None) == (prediction_id is None):
        raise typer.BadParameter("give either --request-id or --prediction-id")
    try:
        key = None if prediction_id is None else UUID(prediction_id).bytes
    except ValueError:
        raise typer.BadParameter(
            f"--prediction-id must be the UUID from an answer; got {prediction_id!r}"
        ) from None
    with open_ledger(ledger) as opened:
        erased = erasure.forget(opened, prediction_id=key, request_id=request_id)
    if json_out:
        print_json(dataclasses.asdict(erased))
    else:
        answers, labels = counted(erased.answers, "answer"), counted(erased.labels, "label")
        stdout.print(f"Erased {answers}, {labels} and {counted(erased.waiting, 'waiting label')}.")
    if not (erased.answers or erased.waiting):
        raise typer.Exit(1)


@app.command()
def export(
    file: Annotated[Path, argument("File to write, .parquet or .csv.")],
    model: Annotated[str | None, option("Only this model's answers (default: all).")] = None,
    ledger: LedgerOption = None,
    json_out: JsonOption = False,
) -> None:
    """Write one row per answer, with its current label, for other programs.

    Example: candor ledger export answers.csv --model chest
    """
    from candor.terminal.progress import bars
    from monitoring.maintenance.export import export as write

    with open_ledger(ledger, reading=True) as opened, bars() as progress:
        count = write(opened, file, model=model, progress=progress)
    if json_out:
        print_json({"file": str(file), "answers": count})
        return
    stdout.print(f"{file}: {counted(count, 'answer')}")


@app.command()
def acknowledge(
    model: Annotated[str, argument("The model whose drift alarm it is.", callback=named)],
    note: Annotated[str, option("What was found, and done; it is kept in the history.")],
    version: Annotated[int | None, option("Version (default: the one registered last).")] = None,
    finding: Annotated[str | None, option("Whose alarm, of a model that has findings.")] = None,
    tag: Annotated[
        str | None, option("Whose alarm: site=B, or scope:doubtful (default: all).")
    ] = None,
    chosen_labels: Annotated[
        bool,
        option(
            "The labels were chosen by their outcome: audited answers alone count from now on.",
            "--chosen-labels",
        ),
    ] = False,
    ledger: LedgerOption = None,
    json_out: JsonOption = False,
) -> None:
    """Acknowledge the drift alarm of a model, which restarts its watch.

    The exit code is 1 if there is no such alarm.

    Example: candor ledger acknowledge chest --note "window repaired"
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
    if json_out:
        print_json(
            {
                "model": model,
                "version": row.version,
                **named(row.finding),
                "restarted": not restart.unchanged,
                "reason": restart.unchanged or None,
            }
        )
    else:
        stdout.print(
            restart.unchanged or f"{row.title} version {row.version}: the watch starts again"
        )
    if restart.unchanged:
        raise typer.Exit(1)


@app.command()
def sources(
    model: Annotated[str, argument("The model whose labels these are.", callback=named)],
    policies: Annotated[
        list[str] | None,
        argument("Policies to set: a source, '=', and truth, proxy or ignore. None: show them."),
    ] = None,
    ledger: LedgerOption = None,
    json_out: JsonOption = False,
) -> None:
    """Say what the labels of each source count as.

    Only truths reach the sums, the drift watch and recalibrations. A proxy is
    compared with truths, and an ignored label is kept. Sources without a policy
    are truth. After a change, labels that arrived before are counted again.

    Example: candor ledger sources chest report=proxy test=ignore
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
    if json_out:
        changed = None if done is None else dataclasses.asdict(done)
        print_json({"model": model, "policies": found, "changed": changed})
        return
    for source, policy in found.items():
        stdout.print(f"{source}: {policy}")
    if not found:
        stdout.print("no source has a policy; every label is truth")
    if done is not None:
        counts = {"label": done.labels, "answer": done.answers}
        again = " of ".join(counted(count, noun) for noun, count in counts.items())
        stdout.print(f"counted again: {again}; alarms ended: {done.cleared}, raised: {done.raised}")


@app.command()
def backup(
    file: Annotated[Path, argument("File to write the copy to.")],
    ledger: LedgerOption = None,
    json_out: JsonOption = False,
) -> None:
    """Back up a SQLite ledger while servers write to it.

    Example: candor ledger backup copy.db
    """
    from monitoring.maintenance.backup import backup as copy
    from monitoring.maintenance.backup import note_backup

    with open_ledger(ledger) as opened:
        size_bytes = copy(opened, file)
        note_backup(opened)
    if json_out:
        print_json({"file": str(file), "bytes": size_bytes})
        return
    stdout.print(f"{file}: {size_bytes:,} bytes")


@app.command()
def restore(
    file: Annotated[Path, argument("Backup to put in the place of the ledger.")],
    ledger: LedgerOption = None,
    replace: Annotated[bool, option("Keep a ledger that exists beside it.", "--replace")] = False,
    json_out: JsonOption = False,
) -> None:
    """Put a backup in the place of a SQLite ledger. Stop its servers and monitors first.

    Answers and labels after the backup are not in it. What was there is kept beside it, and never
    deleted.

    Example: candor ledger restore copy.db --replace
    """
    from monitoring.maintenance.backup import restore as put

    found = put(ledger_url(ledger), file, replace=replace)
    if json_out:
        print_json(dataclasses.asdict(found))
        return
    newest = ""
    if found.last_ns is not None:
        at = datetime.fromtimestamp(found.last_ns / 1e9, tz=UTC)
        newest = f"; the newest answer is of {at.isoformat(timespec='seconds')}"
    held = f"{counted(found.answers, 'answer')} and {counted(found.labels, 'label')}"
    stdout.print(f"{found.file} holds {held}{newest}")
    if found.kept is not None:
        stdout.print(f"kept what was there as {found.kept}")


def _seconds(text: str) -> float:
    """Return a time span such as 90d in seconds.

    >>> _seconds("90d"), _seconds("36h")
    (7776000.0, 129600.0)
    """
    found = re.fullmatch(r"([0-9]{1,6})([hdw])", text.strip())
    if found is None:
        raise typer.BadParameter(f"expected a number with h, d or w, such as 90d; got {text!r}")
    return float(found[1]) * {"h": 3600, "d": 86_400, "w": 604_800}[found[2]]
