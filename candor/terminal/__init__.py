"""What the command line shows: progress bars on stderr, tables on stdout. Silent bars where stderr is no terminal."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

EXCLUDED_SHOWN = 20  # of the files that a data set is without
TABLE_WIDTH = 120  # a table that is cut is worse than one that a narrow window wraps

stdout = Console(highlight=False, soft_wrap=True)
stdout.width = max(stdout.width, TABLE_WIDTH)
stderr = Console(stderr=True, highlight=False)


class Bars:
    """Progress of named stages; a call per unit of work, as `training.progress.Progress` describes it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int, /, **figures: float) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total, figures="")
        shown = "  ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items())
        self._progress.update(self._tasks[stage], completed=done, total=total, figures=shown)


@contextmanager
def bars() -> Iterator[Bars]:
    """Show progress bars on stderr while the block runs; print nothing to stdout in it, which the bars would catch."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[figures]}"),
    )
    with Progress(*columns, console=stderr, disable=not stderr.is_terminal, transient=True) as progress:
        yield Bars(progress)


def print_json(data: Any) -> None:
    """Print plain data as JSON on stdout, for scripts."""
    print(json.dumps(data, indent=2, allow_nan=False, default=str))  # noqa: T201


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table whose first column is text and whose others are figures."""
    grid = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for index, column in enumerate(columns):
        grid.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    return grid


def figure(value: float | None, digits: int = 3) -> str:
    """Format a figure; what is not a number is shown as a dash."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def measures_row(name: str, measures: Mapping[str, Any]) -> list[str]:
    """Return one line of the table whose header is MEASURES_COLUMNS."""
    return [
        name,
        f"{measures['n']:.0f}",
        figure(measures["accuracy"]),
        figure(measures["ece"]),
        f"[{figure(measures['ece_lower'])}, {figure(measures['ece_upper'])}]",
        figure(measures["noise_floor"]),
        figure(measures["mce"]),
        f"{measures['signed_gap']:+.3f}" if measures["signed_gap"] is not None else "-",
        figure(measures.get("nll")),
        figure(measures.get("brier")),
    ]


MEASURES_COLUMNS = ("", "n", "accuracy", "ECE", "95 % interval", "floor", "MCE", "gap", "NLL", "Brier")


def evaluation_tables(evaluation: Mapping[str, Any]) -> list[Any]:
    """Return what a run is worth, a line for each split and calibrator, marked where a figure needs a warning."""
    lines = {
        f"{split}, {method}{_marks(evaluation['calibrators'][method], split)}": measures
        for split, by_method in evaluation["splits"].items()
        for method, measures in by_method.items()
    }
    return [
        table(
            f"Temperature {evaluation['temperature']:.3f}",
            MEASURES_COLUMNS,
            [measures_row(name, measures) for name, measures in lines.items()],
        ),
        "",
        table("Further measures (floors in parentheses)", FURTHER_COLUMNS, [_further(*line) for line in lines.items()]),
        "* fitted on these very answers, so its figures flatter it; ~ may change the predicted class\n",
        *_promises(evaluation),
    ]


FURTHER_COLUMNS = ("", "classwise ECE", "equal-mass ECE", "smooth ECE", "debiased RMS", "z of ECE", "AUROC", "AURC")


def _further(name: str, measures: Mapping[str, Any]) -> list[str]:
    kinds = ("classwise", "equal_mass", "smooth")
    pairs = [f"{figure(measures[f'{kind}_ece'])} ({figure(measures[f'{kind}_noise_floor'])})" for kind in kinds]
    others = [figure(measures["debiased_rms"]), figure(measures["ece_z"], 1)]
    return [name, *pairs, *others, figure(measures["auroc"]), figure(measures["aurc"])]


def _promises(evaluation: Mapping[str, Any]) -> list[str]:
    referral, sets = evaluation["referral"], evaluation["conformal"]
    said = "Referral: no threshold can promise its accuracy on validation."
    if referral:
        kept = "; ".join(
            f"{split} {figure(each['accuracy'])} of the {figure(each['coverage'])} answered"
            for split, each in referral["kept"].items()
        )
        promise = f"promised accuracy {referral['promised_accuracy']}"
        said = f"Referral below confidence {referral['confidence']:.2f}: {promise}; {kept}."
    kept = "; ".join(
        f"{split} {figure(each['coverage'])} with {figure(each['mean_set_size'], 2)} classes a set"
        for split, each in sets["kept"].items()
    )
    return [said, f"Prediction sets: promised to hold the true class {1 - sets['alpha']:.0%} of the time; {kept}."]


def _marks(calibrator: Mapping[str, Any], split: str) -> str:
    marks = ("*" if calibrator["fitted_on"] == split else "") + ("" if calibrator["keeps_argmax"] else "~")
    return f" {marks}" if marks else ""


def data_tables(found: Mapping[str, Any]) -> list[Any]:
    """Return the parts of a data set's description: what it is, images by class and split, defects, notes."""
    splits = found["counts"]
    rows = [[name, *(str(counts[label]) for counts in splits.values())] for label, name in enumerate(found["classes"])]
    rows.append(["all", *(str(sum(counts)) for counts in splits.values())])
    if any(found["groups"].values()):
        rows.append(["patients or groups", *(str(count or "-") for count in found["groups"].values())])
    rows.append(["repeated inside", *(str(found["duplicates"][name]) for name in splits)])
    color = "gray" if found["channels"] == 1 else "color"
    title = f"{found['name']} (layout {found['layout']}): {color}, usually {found['size']} pixels on the longer side"
    lines = [f"{len(found['excluded'])} files are left out."] if found["excluded"] else []
    lines += [f"  {each['path']}: {each['reason']}" for each in found["excluded"][:EXCLUDED_SHOWN]]
    hidden = len(found["excluded"]) - EXCLUDED_SHOWN
    lines += [f"  and {hidden} more; --json has them all."] if hidden > 0 else []
    lines += [f"Note: {note}." for note in found["notes"]]
    return [table(title, ("class", *splits), rows), *(f"\n{line}" if not at else line for at, line in enumerate(lines))]


def catalog_table(entries: Sequence[Mapping[str, Any]]) -> Table:
    """Return the store's list; the version in production is marked."""
    columns = ("model", "version", "production", "loss", "temperature", "ECE", "floor", "accuracy", "measured on")
    rows = [
        [
            entry["name"],
            str(entry["version"]),
            "yes" if entry["production"] else "",
            entry["loss"] or "-",
            figure(entry["temperature"]),
            figure(entry["ece"]),
            figure(entry["noise_floor"]),
            figure(entry["accuracy"]),
            entry["problem"] or entry["reference"] or "-",
        ]
        for entry in entries
    ]
    return table("Models", columns, rows)


def report_tables(report: Mapping[str, Any]) -> list[Any]:
    """Return the parts of a calibration report as the terminal shows them: verdict, advice, measures, slices, bins."""
    drift, coverage = report["drift"], report["coverage"]
    rows = [measures_row("live", report["measures"]), measures_row("card", report["reference"])]
    bins = [
        [
            f"({row['lower']:.2f}, {row['upper']:.2f}]",
            str(row["n"]),
            figure(row["confidence"]),
            figure(row["accuracy"]),
            f"[{figure(row['accuracy_lower'])}, {figure(row['accuracy_upper'])}]",
        ]
        for row in report["bins"]
        if row["n"]
    ]
    lines = [f"{coverage['labeled']} of {coverage['served']} answers are labeled."]
    if drift:
        state = f"alarm since label {drift['alarm_label']}" if drift["active"] else "no alarm"
        evidence = "none yet" if drift["log_evalue"] is None else f"{drift['log_evalue']:.1f}"
        lines.append(
            f"Drift watch: {state}; evidence (log e) {evidence}, alarm at {drift['log_threshold']:.1f}; "
            f"{drift['labels']} labels since the last reset."
        )
    return [
        f"{report['model']} version {report['version']}, window {report['window']}: {report['verdict']}\n",
        *_advice(report["recommendation"]),
        table("Measures", MEASURES_COLUMNS, rows),
        "\n" + " ".join(lines) + "\n",
        table("Reliability", ("confidence", "n", "mean", "accuracy", "95 % interval"), bins),
        *_slices(report["slices"]),
    ]


def _advice(recommendation: Mapping[str, Any]) -> list[str]:
    """Should I be worried, why, and what to do."""
    lists = {"Evidence": recommendation["evidence"], "What to do": recommendation["what_to_do"]}
    parts = [f"{title}:\n" + "".join(f"  - {line}\n" for line in lines) for title, lines in lists.items() if lines]
    return [f"Should you be worried? {recommendation['worried']}\n", *parts]


def _slices(slices: Mapping[str, Any] | None) -> list[Any]:
    """The five slices that are farthest off."""
    rows = [
        [
            each["name"],
            str(each["n"]),
            figure(each["accuracy"]),
            f"{each['signed_gap']:+.3f}" if each["signed_gap"] is not None else "-",
            f"[{figure(each['gap_lower'])}, {figure(each['gap_upper'])}]",
            "off" if each["significant"] else "",
        ]
        for each in (slices or {"known": []})["known"][:5]
    ]
    columns = ("", "n", "accuracy", "gap", "for all at once", "")
    return ["\n", table("For whom, worst first", columns, rows)] if rows else []


def comparison_table(versions: Mapping[str, int | None], reports: Mapping[str, Any]) -> Table:
    """Return the reports of versions side by side; `reports` by role, None where the ledger knows nothing."""
    rows = []
    for role, version in versions.items():
        report = reports.get(role)
        if version is None or report is None:
            rows.append([role, "-" if version is None else str(version), "0", "0", "-", "-", "-", "-"])
            continue
        measures, coverage, drift = report["measures"], report["coverage"], report["drift"]
        figures = [figure(measures[name]) for name in ("accuracy", "ece", "noise_floor")]
        alarm = "alarm" if drift and drift["active"] else "quiet"
        rows.append([role, str(version), str(coverage["served"]), str(coverage["labeled"]), *figures, alarm])
    return table("", ["", "version", "answers", "labels", "accuracy", "ECE", "floor", "detector"], rows)
