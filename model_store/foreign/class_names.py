"""The names of the classes: from the caller, the file, or labeled folders."""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from unicodedata import normalize

import onnx

from calibration.findings.labels import SEPARATOR
from calibration.strict_json import GivenTwice, once, read_json
from calibration.wording import counted, parameter
from model_store.errors import ForeignModelRefused, ForeignModelUnclear

MULTI_LABEL: Final = ("findings", "pathologies")  # metadata whose names are those of findings
METADATA: Final = (
    *("names", "classes", "class_names", "classnames", "labels", "id2label", "targets"),
    *MULTI_LABEL,
)


@dataclass(frozen=True)
class ClassNames:
    """Names in the order of the model's scores, and a clause that says where they come from."""

    names: tuple[str, ...]
    why: str


def given_names(text: str | Sequence[str]) -> ClassNames:
    """Read names with commas or "|" between, or a file with a name on each line or a JSON list."""
    if not isinstance(text, str):
        return ClassNames(tuple(map(str, text)), "as given")
    names = _split(text.replace(SEPARATOR, ","))
    if len(names) > 1 or not Path(text).is_file():
        return ClassNames(names, "as given")
    return ClassNames(_read(Path(text)), f"from {text}")


def find_names(
    given: ClassNames | None,
    model: onnx.ModelProto,
    count: int,
    *,
    labels: Sequence[str],
    folders: Sequence[str],
) -> ClassNames:
    """Return the names for `count` scores: those `given`, or else those that fit.

    Args:
        labels: what a ZipMap in the graph calls them.
        folders: the labeled folders; their alphabetical order is that of Keras and torchvision.

    Raises ForeignModelRefused if those given do not fit, and ForeignModelUnclear if nobody knows.
    """
    if given is not None:
        return _checked(given, count)
    for candidate in _sources(model, labels, folders):
        if len(candidate.names) == len(set(candidate.names)) == count:
            return candidate
    example = ",".join(("FIRST", "SECOND", "THIRD", "...")[: min(count, 4)])
    raise ForeignModelUnclear(
        f"the model gives {count} scores and the file does not name them: give "
        f"{parameter('classes', example)}, in the order of its scores"
    )


def require_same_order(
    names: Sequence[str],
    model: onnx.ModelProto,
    labels: Sequence[str],
    others: Sequence[Sequence[str]],
) -> None:
    """Raise ForeignModelRefused if the same names stand in another order in the model.

    `labels`: of a ZipMap; `others`: what the maker says beside the graph.
    """
    given = [plain(each) for each in names]
    for own in (*(each.names for each in _named(model, labels)), *others):
        theirs = [plain(each) for each in own]
        if sorted(theirs) == sorted(given) and theirs != given:
            raise ForeignModelRefused(
                f"its classes were given as {','.join(names)}, and the model itself has them in "
                f"the order {','.join(own)}: give {parameter('classes', ','.join(own))}, or "
                f"{parameter('anyway', True)} if the model is mistaken"
            )


def plain(name: str) -> str:
    """Return a name without case, blanks and signs."""
    return "".join(filter(str.isalnum, normalize("NFC", name).casefold()))


def _checked(names: ClassNames, count: int) -> ClassNames:
    twice = sorted({each for each in names.names if names.names.count(each) > 1})
    if twice:
        raise ForeignModelRefused(
            f"{twice[0]!r} is named twice; each score needs a name of its own"
        )
    if len(names.names) != count:
        raise ForeignModelRefused(
            f"{counted(len(names.names), 'name')} given ({', '.join(names.names)[:200]}), but the "
            f"model gives {count} scores: name all of them, in the order of its scores"
            + "; of thresholds between grades, export a probability for each grade"
            * (len(names.names) == count + 1)
        )
    return names


def _sources(
    model: onnx.ModelProto, labels: Sequence[str], folders: Sequence[str]
) -> Iterator[ClassNames]:
    numbered = all(each.isdecimal() for each in labels) and not set(folders) <= set(labels)
    yield from _named(model, () if numbered else labels)
    yield ClassNames(
        tuple(folders),
        "the labeled folders in alphabetical order, as Keras and torchvision number them",
    )


def _named(model: onnx.ModelProto, labels: Sequence[str]) -> Iterator[ClassNames]:
    """Give the names that the file has."""
    yield ClassNames(tuple(labels), "as the graph names them")
    for entry in model.metadata_props:
        if entry.key.lower() in METADATA:
            yield ClassNames(_from_text(entry.value), f"from the file's metadata ({entry.key})")


def _read(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ForeignModelRefused(
            f"{path} cannot be read as a list of classes ({error})"
        ) from error
    return _from_text(text)


def _from_text(text: str) -> tuple[str, ...]:
    """Read a JSON or Python list or mapping from numbers, else lines, which may be numbered.

    >>> texts = "0 lung\\n1 heart\\n", "{0: 'lung', 1: 'heart'}", "lung\\nheart"
    >>> {_from_text(text) for text in texts}
    {('lung', 'heart')}
    """
    data = _literal(text)
    if isinstance(data, dict):
        keys = ("labels", "classes", "id2label", "names")
        data = next((data[key] for key in keys if key in data), data)
    if isinstance(data, dict):
        data = [data[key] for key in sorted(data, key=lambda key: (len(str(key)), str(key)))]
    if isinstance(data, list):
        return tuple(str(each) for each in data)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    numbered = [line.split(maxsplit=1) for line in lines]
    if all(len(pair) == 2 and pair[0].rstrip(":,") == str(at) for at, pair in enumerate(numbered)):
        lines = [pair[1] for pair in numbered]
    return tuple(lines) if len(lines) > 1 else _split(text)


def _split(text: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in text.split(",") if each.strip())


def _literal(text: str) -> object:
    """JSON, else what Python's repr writes, else None. Raises ForeignModelRefused."""
    for read in (read_json, _python_literal):
        try:
            return read(text)
        except GivenTwice as error:
            raise ForeignModelRefused(f"of the names of classes, {error}") from None
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return None


def _python_literal(text: str) -> object:
    if text.strip()[:1] not in "{[(":
        return None
    found = ast.parse(text.strip(), mode="eval").body
    if not isinstance(found, ast.Dict) or None in found.keys:
        return ast.literal_eval(found)
    keys = [ast.literal_eval(key) for key in found.keys if key is not None]
    return once(list(zip(keys, map(ast.literal_eval, found.values), strict=True)))
