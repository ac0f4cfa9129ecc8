"""A language whose every translation is in brackets, so that whatever a page says outside of them
was not translated.

`untranslated(page, english)` lists it. Names, units and numbers are no language; sentences that
findings make stay English, in elements that say so, and `english` are these sentences. A heading,
or the large words of an answer, is never one of them: who reads no English would not even learn
what the page says.
"""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from gettext import NullTranslations
from html.parser import HTMLParser
from typing import Any, Final

import pytest

from monitoring.api.json_body import plain
from monitoring.pages import language
from monitoring.pages.language import Language, Reader, reading

PSEUDO: Final = Language("zz", "Pseudo", "%d.%m.%Y", True)
SAID: Final = (
    "alt",
    "aria-label",
    "placeholder",
    "title",
    "data-busy",
    "data-away",
    "data-chosen",
    "value",
)
NAMES: Final = frozenset(
    {
        *(
            "Candor",
            "API",
            "UTC",
            "ECE",
            "NLL",
            "English",
            "Deutsch",
            "Pseudo",
            "s",
            "min",
            "h",
            "k",
        ),
        *("pneumonia", "normal", "benign", "malignant", "tiny", "site", "tester", "val"),
    }
)
_VOID: Final = frozenset(
    {"meta", "link", "br", "input", "img", "rect", "circle", "path", "line", "polyline", "polygon"}
)
_HEADINGS: Final = frozenset({"h1", "h2", "h3", "th"})
_NOT_SAID: Final = frozenset({"style", "script", "code", "pre", "time", "kbd"})


class _Brackets(NullTranslations):
    def gettext(self, message: str) -> str:
        return f"⟦{message}⟧"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return f"⟦{msgid1 if n == 1 else msgid2}⟧"


@contextmanager
def speaking_in_brackets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pages are rendered in brackets meanwhile, for requests that ask for the language `zz`,
    too.
    """
    monkeypatch.setattr(language, "_catalog", lambda code: _Brackets())
    monkeypatch.setitem(language._BY_CODE, PSEUDO.code, PSEUDO)
    with reading(Reader(PSEUDO)):
        yield


def untranslated(page: str, english: Collection[str] | None = ()) -> list[str]:
    """Texts that a reader meets and that nobody translated, each once.

    `english` holds the sentences that elements in English may say; None if they may say anything.
    """
    found = _Texts()
    found.feed(page)
    left = [text for text in found.own if _has_words(text)]
    if english is not None:
        sentences = " ".join(_plain(text) for text in english)
        left += [
            text for text in found.english if text not in NAMES and _plain(text) not in sentences
        ]
    return list(dict.fromkeys(left))


def sentences_of(report: Any) -> list[str]:
    """All texts of a report as plain data."""
    if isinstance(report, str):
        return [report]
    if isinstance(report, dict):
        return [text for value in report.values() for text in sentences_of(value)]
    if isinstance(report, (list, tuple)):
        return [text for value in report for text in sentences_of(value)]
    return []


def texts_of(found: Any) -> list[str]:
    """All texts that findings made for a page: those of the report, of other versions, and of the
    history.
    """
    return (
        sentences_of(plain(found.report))
        + sentences_of([plain(each) for each in found.versions])
        + [entry["sentence"] for entry in found.entries]
    )


class _Texts(HTMLParser):
    """The texts of a page: those in the reader's language, and those in elements that are
    English.
    """

    def __init__(self) -> None:
        super().__init__()
        self.own: list[str] = []
        self.english: list[str] = []
        self._open: list[
            tuple[str, str | None, bool]
        ] = []  # name, language, whether it is in a heading
        self._depth = 0  # brackets that are open: a translation may hold elements

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        inherited = self._open[-1][1] if self._open else None
        spoken = given.get("lang", inherited)
        is_heading = tag in _HEADINGS or "word" in (given.get("class") or "").split()
        if tag not in _VOID:
            self._open.append((tag, spoken, is_heading or bool(self._open and self._open[-1][2])))
        said = {name: text for name, text in given.items() if name in SAID and text}
        if tag in ("input", "option", "button") and given.get("type") != "submit":
            said.pop("value", None)
        for text in said.values():
            (self.english if spoken == "en" else self.own).append(
                _outside(text or "", 0)[0].strip()
            )

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        text, self._depth = _outside(data, self._depth)
        if self._open and self._open[-1][0] not in _NOT_SAID and text.strip():
            _, spoken, in_heading = self._open[-1]
            (self.english if spoken == "en" and not in_heading else self.own).append(text.strip())


def _outside(text: str, depth: int) -> tuple[str, int]:
    """What of a text is in no brackets, if `depth` were open before it, and how many are open after
    it.
    """
    left = []
    for letter in text:
        depth += letter == "⟦"
        if depth == 0:
            left.append(letter)
        depth -= letter == "⟧"
    return "".join(left), depth


def _has_words(text: str) -> bool:
    return any(word not in NAMES for word in re.findall(r"[^\W\d_]+", text))


def _plain(text: str) -> str:
    """A sentence without marks of code, and without the place at which it stands in a chart."""
    return re.sub(r"^[\d.]*: ", "", " ".join(text.replace("`", "").split()))
