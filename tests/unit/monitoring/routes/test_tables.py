"""Tables that stream in, cut anywhere, against the csv and json modules, row by row."""

import contextlib
import csv
import io
import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.errors import TableInvalid
from monitoring.routes.tables import (
    ROW_LIMIT_BYTES,
    CsvReader,
    NdjsonReader,
    Row,
    TableReader,
)

COLUMNS = {"prediction_id", "label", "source"}
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=8)


def read(table: TableReader, data: bytes, cuts: list[int]) -> list[Row]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    rows = [row for start, end in itertools.pairwise(edges) for row in table.feed(data[start:end])]
    return rows + table.end()


@given(
    st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=6),
    st.lists(st.integers(0, 10_000), max_size=8),
    st.booleans(),
)
def test_a_csv_is_read_as_the_csv_module_reads_it(
    cells: list[tuple[str, ...]], cuts: list[int], windows: bool
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n" if windows else "\n")
    writer.writerow(sorted(COLUMNS))
    writer.writerows(cells)
    rows = read(CsvReader(COLUMNS), text.getvalue().encode("utf-8-sig"), cuts)
    assert [row.problem for row in rows] == [None] * len(cells)
    names = sorted(COLUMNS)
    assert [row.item for row in rows] == [
        {name: cell for name, cell in zip(names, row, strict=True) if cell} for row in cells
    ]


@pytest.mark.slow
@given(
    st.lists(st.dictionaries(TEXT, TEXT), max_size=6), st.lists(st.integers(0, 10_000), max_size=8)
)
def test_ndjson_is_read_as_the_json_module_reads_it(
    objects: list[dict[str, str]], cuts: list[int]
) -> None:
    data = "\n\n".join(json.dumps(each) for each in objects).encode()
    rows = read(NdjsonReader(), data, cuts)
    assert [row.item for row in rows] == objects
    assert [row.line for row in rows] == [1 + 2 * number for number in range(len(objects))]


@pytest.mark.parametrize("cuts", [[], [9, 30, 64], list(range(150))])
def test_a_bad_line_is_told_and_the_next_is_read(cuts: list[int]) -> None:
    data = b'label,source\nnormal,"two\nlines"\nnormal\n\nnormal,\xff\n'
    data += b'no"rmal,a\nnormal,b"\nnormal,last'
    rows = read(CsvReader(COLUMNS), data, cuts)
    assert [(row.line, row.item) for row in rows] == [
        (2, {"label": "normal", "source": "two\nlines"}),
        (4, None),
        (6, None),
        (7, None),
        (9, {"label": "normal", "source": "last"}),
    ]
    problems = [row.problem or "" for row in rows]
    assert "1 cells, the header 2" in problems[1]
    assert "not UTF-8" in problems[2]
    assert "not CSV" in problems[3]
    rows = read(NdjsonReader(), b'{"a": 1}\n{\n[]\n\xff\n{"a": 2}', cuts)
    assert [(row.line, row.item) for row in rows] == [
        (1, {"a": 1}),
        (2, None),
        (3, []),
        (4, None),
        (5, {"a": 2}),
    ]


@pytest.mark.parametrize("piece", [1000, ROW_LIMIT_BYTES + 10, 10**6])
def test_a_line_without_end_is_passed_over_in_bounded_memory(piece: int) -> None:
    data = b'{"a": 1}\n' + b"x" * (3 * ROW_LIMIT_BYTES) + b'\n{"a": 2}\n'
    table, rows = NdjsonReader(), []
    for start in range(0, len(data), piece):
        rows += table.feed(data[start : start + piece])
        assert len(table._lines._rest) <= ROW_LIMIT_BYTES
    rows += table.end()
    assert [(row.line, row.item) for row in rows] == [(1, {"a": 1}), (2, None), (3, {"a": 2})]
    assert "longer than 65,536 bytes" in (rows[1].problem or "")


def test_quotes_that_never_close_hold_no_more_than_a_row() -> None:
    table = CsvReader(COLUMNS)
    data = b'label\n"open\n' + b"normal\n" * 20_000
    rows: list[Any] = []
    for start in range(0, len(data), 5000):
        rows += table.feed(data[start : start + 5000])
    rows += table.end()
    assert rows[0].line == 2
    assert "longer than" in rows[0].problem
    assert {row.item["label"] for row in rows[1:]} == {"normal"}


def test_a_header_that_is_none_is_refused() -> None:
    for header in [b"", b"\n", b"label,label\n", b"label,age\n", b'"label\n', b"\xff\n", b"0,1\n"]:
        with pytest.raises(TableInvalid):
            read(CsvReader(COLUMNS), header, [])


@pytest.mark.slow
@pytest.mark.parametrize("piece", [b"a\n", b"a,b\n", b"\n"])
def test_a_quote_that_stays_open_costs_no_more_than_the_lines_do(piece: bytes) -> None:
    """Joining the lines again with each new one took 24 s for this megabyte."""
    table, started_s = CsvReader(COLUMNS), time.process_time()
    with contextlib.suppress(TableInvalid):  # what follows the row that is too long is rubbish too
        read(table, b'label,source\n"' + piece * (2**20 // len(piece)), [])
    assert time.process_time() - started_s < 5
