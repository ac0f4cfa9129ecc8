"""`python -m tests.catalogs`: renew the catalogs of the pages' texts, and compile them.

New texts enter each `candor.po` without a translation, texts that are gone leave it. Translate, and
run it again: pages read `candor.mo`. A test in tests/contract fails while a text lacks its
translation, or a catalog is not compiled.
"""

import io
import sys
from pathlib import Path
from typing import Any, Final

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from calibration.calibrators.remedies import REMEDIES
from calibration.measures.summary import MEASURES
from monitoring.pages.language import DOMAIN, LANGUAGES

ROOT: Final = Path(__file__).parents[1]
LOCALE: Final = ROOT / "monitoring" / "pages" / "locale"
_WHERE: Final = ("monitoring/pages", "serving", "model_store")
_METHODS: Final = [("**/templates/**.jinja", "jinja2.ext:babel_extract"), ("**.py", "python")]
_OPTIONS: Final = {
    "**/templates/**.jinja": {"trimmed": "true", "silent": "false", "trim_blocks": "true"}
}


def extracted() -> Catalog:
    """All texts of templates and modules that are to be translated, and the names of measures and
    remedies.
    """
    found = Catalog(domain=DOMAIN)
    for folder in _WHERE:
        for _, _, message, comments, context in extract_from_dir(
            ROOT / folder, _METHODS, _OPTIONS, comment_tags=("Translators:",)
        ):
            found.add(message, auto_comments=comments, context=context)
    for measure in MEASURES:
        if measure.page:
            found.add(measure.title)
            found.add(measure.text)
    for remedy in REMEDIES.values():
        found.add(remedy.title)
    return found


def catalog_file(code: str) -> Path:
    """The catalog of a language."""
    return LOCALE / code / "LC_MESSAGES" / f"{DOMAIN}.po"


def read_catalog(code: str) -> Catalog:
    """The catalog of a language, empty if there is none yet."""
    file = catalog_file(code)
    if not file.exists():
        return Catalog(locale=code, domain=DOMAIN)
    with file.open("rb") as opened:
        return read_po(opened, locale=code, domain=DOMAIN)


def renewed(code: str) -> Catalog:
    """The catalog with the texts that there are now, and the translations that it has."""
    known, found = read_catalog(code), Catalog(locale=code, domain=DOMAIN)
    for message in extracted():
        if message.id:
            had: Any = known.get(message.id)
            found.add(message.id, had.string if had else None, flags=message.flags - {"fuzzy"})
    return found


def is_translated(string: str | tuple[str, ...] | None) -> bool:
    """Whether there is a translation, for every number."""
    return bool(string) and all((string,) if isinstance(string, str) else string or ())


def as_text(catalog: Catalog) -> bytes:
    """The catalog as a file, without dates and lines, which would change without need."""
    stream = io.BytesIO()
    write_po(stream, catalog, no_location=True, omit_header=True, sort_output=True, width=120)
    header = (
        'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=utf-8\\n"\n'
        f'"Language: {catalog.locale}\\n"\n"Plural-Forms: {catalog.plural_forms}\\n"\n\n'
    )
    return header.encode() + stream.getvalue()


def compiled(catalog: Catalog) -> bytes:
    """The catalog as Python's gettext reads it."""
    stream, plain = io.BytesIO(), _PlainCatalog(locale=catalog.locale, domain=DOMAIN)
    for message in catalog:
        if message.id:
            plain.add(message.id, message.string)
    write_mo(stream, plain)
    return stream.getvalue()


class _PlainCatalog(Catalog):
    """A catalog whose header names neither the time nor the version of Babel."""

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        return [("Content-Type", "text/plain; charset=utf-8"), ("Plural-Forms", self.plural_forms)]


def main() -> int:
    for language in LANGUAGES[1:]:
        catalog, file = renewed(language.code), catalog_file(language.code)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(as_text(catalog))
        file.with_suffix(".mo").write_bytes(compiled(catalog))
        missing = [
            message.id for message in catalog if message.id and not is_translated(message.string)
        ]
        sys.stdout.write(f"{file}: {len(catalog)} texts, {len(missing)} without a translation\n")
        sys.stdout.writelines(f"  {each}\n" for each in missing)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
