"""Every text of the pages is translated into every language, with the same placeholders, and
compiled.
"""

import re

import pytest

from monitoring.pages.language import LANGUAGES
from tests.catalogs import (
    ROOT,
    as_text,
    catalog_file,
    compiled,
    extracted,
    is_translated,
    read_catalog,
    renewed,
)

RENEW = "run `python -m tests.catalogs`, translate what it lists, and run it again"
OTHERS = [each.code for each in LANGUAGES[1:]]


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"%\(\w+\)s|%%", text))


@pytest.mark.parametrize("code", OTHERS)
def test_a_catalog_holds_the_texts_that_there_are_and_is_compiled(code: str) -> None:
    file = catalog_file(code)
    assert file.read_bytes() == as_text(renewed(code)), RENEW
    assert file.with_suffix(".mo").read_bytes() == compiled(read_catalog(code)), RENEW


@pytest.mark.parametrize("code", OTHERS)
def test_every_text_is_translated_with_its_placeholders(code: str) -> None:
    catalog = read_catalog(code)
    assert len(catalog) > 100
    for message in catalog:
        if not message.id:
            continue
        assert is_translated(message.string), f"{message.id!r}: {RENEW}"
        wanted = placeholders(str(message.id)) | {"%(num)s"}
        for string in message.string if isinstance(message.string, tuple) else (message.string,):
            assert placeholders(string) <= wanted, message.id
            if isinstance(message.id, str):
                assert placeholders(string) == placeholders(message.id), message.id


def test_no_text_is_in_two_forms_that_differ_only_in_spaces() -> None:
    texts = [message.id for message in extracted() if isinstance(message.id, str)]
    assert len({" ".join(text.split()) for text in texts}) == len(texts)


def test_no_template_says_something_in_english_itself() -> None:
    """An element that is English holds what findings say, so its template has no words of its
    own.
    """
    for file in sorted((ROOT / "monitoring" / "pages" / "templates").rglob("*.jinja")):
        for found in re.finditer(
            r"\{\{ english\(\) \}\}>(.*?)</(?:p|span|li|h1|h2|title|ul|td|b)>",
            file.read_text("utf-8"),
            re.DOTALL,
        ):
            own = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|<[^>]*>", "", found[1], flags=re.DOTALL)
            assert not re.search(r"[A-Za-z]{2}", own), f"{file.name}: {own.strip()[:80]}"
