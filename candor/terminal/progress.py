"""Progress bars on stderr, shown only if it is a terminal, or in a notebook."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from html import escape
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from calibration.figures import figure
from calibration.wording import in_points, percent
from candor.terminal.console import note, stderr, stdout, visible
from training.progress import Progress as Shown

WIDE = 120  # columns, from which a bar is long


@contextmanager
def working(on: str) -> Iterator[None]:
    """Show that the block works on something that has no steps to count; nothing if stderr is no
    terminal.
    """
    with stderr.status(Text(f"{visible(on)} ...")) if stderr.is_terminal else nullcontext():
        yield


class Bars:
    """One bar per named stage, as a `training.progress.Progress`."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int, /, **figures: float) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(visible(stage), total=total, figures="")
        shown = "  ".join(_listed(figures))
        self._progress.update(self._tasks[stage], completed=done, total=total, figures=shown)


class NotebookBars:
    """One bar per named stage in the output of a cell."""

    def __init__(self) -> None:
        self._shown: dict[str, Any] = {}
        self._percent: dict[str, int] = {}

    def __call__(self, stage: str, done: int, total: int, /, **figures: float) -> None:
        from IPython.display import HTML, display

        percent = 100 * done // max(total, 1)
        if self._percent.get(stage) == percent:
            return
        self._percent[stage] = percent
        bar = HTML(
            f'<progress value="{done}" max="{total}"></progress> {escape(visible(stage))} '
            f"{', '.join([f'{done:,} of {total:,}', *_listed(figures)])}"
        )
        if stage in self._shown:
            self._shown[stage].update(bar)
        else:
            self._shown[stage] = display(bar, display_id=True)


class Lines:
    """A line on stderr for every epoch, and one for any other stage when it is complete."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}

    def __call__(self, stage: str, done: int, total: int, /, **figures: float) -> None:
        """Print a line if this is not merely another step of the same epoch."""
        before, self._done[stage] = self._done.get(stage, 0), done
        if done > before and (done == total or (figures and stage.startswith("train "))):
            note(", ".join([f"{stage}: {done:,} of {total:,}", *_listed(figures)]))


_WRITTEN = {"accuracy": percent, "gap": in_points}  # all other figures are no proportions


def _listed(figures: Mapping[str, float]) -> list[str]:
    return [f"{name} {_WRITTEN.get(name, figure)(value)}" for name, value in figures.items()]


def _whole() -> Column:
    """A column that a narrow window does not cut: stage and figures take more lines instead."""
    return Column(no_wrap=True)


@contextmanager
def bars(*, lines: bool = False) -> Iterator[Shown]:
    """Show progress bars while the block runs. What is printed meanwhile appears above them.

    In a notebook they are `NotebookBars`. If stderr is no terminal, show nothing, or with `lines`
    those of `Lines`.
    """
    if stderr.is_jupyter:
        yield NotebookBars()
        return
    if lines and not stderr.is_terminal:
        yield Lines()
        return
    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold")),
        BarColumn(bar_width=24 if stderr.width >= WIDE else 8, table_column=_whole()),
        MofNCompleteColumn(table_column=_whole()),
        TimeRemainingColumn(table_column=_whole()),
        TextColumn(
            "{task.fields[figures]}",
            style="dim",
            markup=False,
            table_column=Column(overflow="fold"),
        ),
    )
    captures = stdout.is_terminal  # where stdout goes to a file, the bars must leave it alone
    silent = not stderr.is_terminal
    progress = Progress(
        *columns, console=stderr, disable=silent, redirect_stdout=captures, transient=True
    )
    # Silent bars are never started: Rich before 14.3 would end them with an empty line.
    with nullcontext() if silent else progress:
        yield Bars(progress)
