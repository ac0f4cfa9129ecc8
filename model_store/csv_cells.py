"""Texts in CSV files that spreadsheets show as they are, and never execute as formulas.

A class, tag, source or file name may begin with `=`, `+`, `-` or `@`, and may come from anybody who
may send a label. Excel, LibreOffice and Google Sheets would execute it. So every CSV that Candor
writes marks such a text with an apostrophe, and whatever reads a CSV takes the mark away again.
Numbers stay as they are.

Source: OWASP, CSV Injection, https://owasp.org/www-community/attacks/CSV_Injection.
"""

import csv
import re
from collections.abc import Iterable
from typing import Any, Final

MARK: Final = "'"
# After spaces too, which spreadsheets trim; some languages take full-width signs as narrow ones.
_FORMULA: Final = re.compile(r"'*\s*[=+\-@\uff1d\uff0b\uff0d\uff20\t\r\n|%]")
_NUMBER: Final = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?( ± \d*\.?\d+)?( %| points)?|-|[+-]?(inf|nan)",
    re.IGNORECASE,
)


class CsvTable:
    """Writes rows as CSV whose texts are safe in spreadsheets; use it in place of `csv.writer`."""

    def __init__(self, stream: Any) -> None:
        self._rows = csv.writer(stream)

    def writerow(self, row: Iterable[Any]) -> None:
        self._rows.writerow([safe_cell(value) for value in row])

    def writerows(self, rows: Iterable[Iterable[Any]]) -> None:
        """Write several rows."""
        for row in rows:
            self.writerow(row)


def safe_cell(value: Any) -> Any:
    """`value`, marked if it is a text that a spreadsheet may execute.

    >>> safe_cell("=cmd|' /C calc'!A0"), safe_cell("site A"), safe_cell("'=1")
    ("'=cmd|' /C calc'!A0", 'site A', "''=1")
    >>> safe_cell("-0.5"), safe_cell(-0.5)
    ('-0.5', -0.5)
    """
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return MARK + value
    return value


def plain_cell(text: str) -> str:
    """The text of a cell without the mark of `safe_cell`, so that a table reads back as it was.

    >>> plain_cell(safe_cell("=1+1")), plain_cell(safe_cell("'=1")), plain_cell("'quoted'")
    ('=1+1', "'=1", "'quoted'")
    """
    return text[1:] if text.startswith(MARK) and _FORMULA.match(text) else text
