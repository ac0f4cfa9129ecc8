"""What `candor predict` shows: an answer as text, and all of them as a CSV table.

Its columns have the names of an answer's fields, so that a column `label` beside them makes it a
table for `candor feedback`.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TextIO

from calibration.wording import counted, probability
from candor.terminal.console import note
from candor.terminal.verb_result import VerbResult
from model_store.csv_cells import CsvTable
from serving.scoring.columns import OF_CLASSES, OF_SCOPE, cells

Answer = Mapping[str, Any]
SHOWN = 5  # classes in the text, the most probable
COLUMNS = ("file", "frame", "prediction_id", "request_id", "model", "version")


class Predicted(VerbResult):
    """Answers and refusals, each printed as it comes; `table`: the file that all are written to."""

    def __init__(self, answers: Iterator[Answer], table: Path | None) -> None:
        self._coming, self._come, self._table = answers, list[Answer](), table

    def _answers(self) -> Iterator[Answer]:
        yield from self._come
        for each in self._coming:
            self._come.append(each)
            yield each

    @property
    def failed(self) -> bool:
        return any("error" in each for each in self._answers())

    def document(self) -> Iterator[str]:
        for each in self._answers():
            if "error" in each:
                note(f"{_named(each)}: {each['error']}", style="red")
            elif self._table is None:
                yield answer_text(each)
        if self._table is not None:
            yield f"{self._table}: {counted(len(self._come), 'row')}"

    def as_dict(self) -> list[Answer]:
        return [*self._answers()]


def answer_text(answer: Answer) -> str:
    """Return the class, the referral, the probabilities and the ids; or the findings.

    >>> answer = {"image": "a.png", "predicted": "no", "confidence": 0.7}
    >>> answer |= {"probabilities": {"yes": 0.3, "no": 0.7}}
    >>> print(answer_text(answer | {"refer": True, "prediction_id": "01a2", "request_id": "a.png"}))
    a.png: no 70.0 %, refer to a person
      probabilities  no 70.0 %, yes 30.0 %
      prediction id  01a2
      request id     a.png
    """
    lines = list((_findings if "findings" in answer else _classification)(answer))
    if answer.get("scope") is not None:
        lines.append(f"  scope          {answer['scope']}, p-value {answer['scope_p']:.3g}")
    named = ("calibrator", "prediction_id", "request_id")
    more = {name.replace("_", " "): answer.get(name) for name in named}
    return "\n".join(
        lines + [f"  {name:13}  {value}" for name, value in more.items() if value is not None]
    )


def short_text(answer: Answer) -> str:
    """Return the findings, or the most probable classes, each in a line."""
    if "findings" in answer:
        found = answer["findings"].items()
        rows = [(name, each["probability"], each["present"]) for name, each in found]
        return "\n".join(
            f"{name:<24} {probability(p):>11}{'  present' * bool(present)}"
            for name, p, present in rows
        )
    likely = sorted(answer["probabilities"].items(), key=lambda item: -item[1])[:SHOWN]
    refer = "\nRefer: a person should look at this image." if answer["refer"] else ""
    return "\n".join(f"{name:<24} {probability(p):>11}" for name, p in likely) + refer


def _classification(answer: Answer) -> Iterator[str]:
    if answer["probabilities"] is None:
        yield f"{_named(answer)}: no confidence, refer to a person"
        return
    referral = {
        True: ", refer to a person",
        False: ", no referral",
        None: ", no referral threshold",
    }[answer["refer"]]
    yield f"{_named(answer)}: {answer['predicted']} {probability(answer['confidence'])}{referral}"
    yield f"  probabilities  {_probabilities(answer['probabilities'])}"
    if answer.get("prediction_set") is not None:
        yield f"  prediction set {', '.join(answer['prediction_set']) or '(empty)'}"


def _findings(answer: Answer) -> Iterator[str]:
    found: Mapping[str, Answer] = answer["findings"] or {}
    said = {
        "present": {name: one["probability"] for name, one in found.items() if one["present"]},
        "absent": {name: one["probability"] for name, one in found.items() if not one["present"]},
    }
    yield f"{_named(answer)}: {len(said['present'])} of {counted(len(found), 'finding')} present"
    yield from (f"  {word:13}  {_probabilities(each)}" for word, each in said.items() if each)
    if referred := [name for name, one in found.items() if one.get("refer")]:
        yield f"  {'refer':13}  {', '.join(referred)}"


def _named(answer: Answer) -> str:
    frame = answer.get("frame")
    return str(answer["image"]) if frame is None else f"{answer['image']}, frame {frame}"


def _probabilities(values: Mapping[str, float]) -> str:
    ranked = sorted(values.items(), key=lambda pair: -pair[1])
    shown = ", ".join(f"{name} {probability(value)}" for name, value in ranked[:SHOWN])
    rest = len(ranked) - SHOWN
    if rest < 1:
        return shown
    return f"{shown} and {rest} more, the largest {probability(ranked[SHOWN][1])}"


class AnswerTable:
    """A CSV file with a row per image, written as the answers arrive. Use it in a `with`.

    Rows before the first answer wait for it, because only an answer names the classes or findings.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[Answer] = []
        self._columns: list[str] = []
        self._table: CsvTable | None = None

    def __enter__(self) -> Self:
        self._file: TextIO = self.path.open("w", newline="", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        if self._table is None:
            self._begin({})
        self._file.close()

    def add(self, answer: Answer) -> None:
        """Write the row of an answer or an error."""
        self._waiting.append(answer)
        if self._table is None and (answer.get("probabilities") or answer.get("findings")):
            self._begin(answer)
        self._write()

    def _begin(self, first: Answer) -> None:
        same: tuple[str, ...] = ("calibrator",) if "findings" in first else OF_CLASSES
        same += tuple(OF_SCOPE) if "scope" in first else ()
        of_names = [name for name in cells(first) if name not in {*first, *same}]
        self._columns = [*COLUMNS, *same, "error", *of_names]
        self._table = CsvTable(self._file)
        self._table.writerow(self._columns)
        self._write()

    def _write(self) -> None:
        if self._table is not None:
            for row in map(_row, self._waiting):
                self._table.writerow(row.get(name, "") for name in self._columns)
            self._waiting.clear()
            self._file.flush()


def _row(answer: Answer) -> dict[str, Any]:
    named = cells(answer) | {"file": answer["image"]}
    return {name: _cell(value) for name, value in named.items()}


def _cell(value: Any) -> Any:
    """Whether and lists as JSON; what is text stays."""
    return (
        json.dumps(value, ensure_ascii=False) if isinstance(value, bool | list | tuple) else value
    )
