"""The reference of the documentation says what the running program says: every setting, metric,
error and route.
"""

import re
from pathlib import Path

import candor
from docs.generators.server import families
from docs.generators.tables import GENERATORS, MARK, expand
from serving.error_table import ERRORS, INTERNAL, ROUTING_CODES
from serving.process.server import ENDPOINTS
from serving.settings import PREFIX, Settings

DOCS = Path(__file__).parents[2] / "docs"


def published(page: str) -> str:
    """The page as the site shows it."""
    return expand((DOCS / page).read_text())


def test_every_setting_is_documented_with_its_default_and_meaning() -> None:
    rows = dict(
        re.findall(r"\| `(CANDOR_\w+)` \| `(.*?)` \| \S", published("reference/settings.md"))
    )
    assert rows == {
        f"{PREFIX}{name.upper()}": str(field.default)
        for name, field in Settings.model_fields.items()
    }


def test_every_error_code_is_documented_at_its_status() -> None:
    rows = re.findall(
        r"^\| (\d{3}) \| `(\w+)` \| \S", published("reference/errors.md"), re.MULTILINE
    )
    listed = {(int(status), code) for status, code in rows}
    assert listed == {*ERRORS.values(), *ROUTING_CODES.items(), (INTERNAL.status, INTERNAL.code)}


def test_every_metric_is_documented() -> None:
    page = published("reference/metrics.md")
    names = {family.name + ("_total" if family.type == "counter" else "") for family in families()}
    assert len(names) > 30
    assert {name for name in names if not re.search(rf"\| `{name}` \| \w+ \| \S", page)} == set()


def test_every_operation_is_documented() -> None:
    page = published("reference/routes.md")
    assert {f"{each.method} {each.path}" for each in ENDPOINTS} == set(
        re.findall(r"^### `(\w+ /.*)`$", page, re.M)
    )


def test_every_generated_part_is_on_a_page() -> None:
    marks = {name for page in DOCS.rglob("*.md") for name in MARK.findall(page.read_text())}
    assert marks == set(GENERATORS)


def test_every_name_of_the_python_interface_is_documented() -> None:
    page = published("reference/python.md")
    assert [name for name in candor.__all__ if not re.search(rf"`(candor\.)?{name}`", page)] == []
