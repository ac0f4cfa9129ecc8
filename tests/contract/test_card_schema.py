"""The published JSON Schema is the card's: met by old, new and later cards."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from model_store.bundle.card import SCHEMA_FILE, card_schema, schema_text
from tests.builders.bundles import build_card


@pytest.fixture(scope="module")
def validator() -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(json.loads(SCHEMA_FILE.read_text()))


def meaning(schema: Any) -> Any:
    """The schema without what releases of pydantic write or leave out: it says nothing.

    Numbers are compared as numbers: pydantic before 2.11 writes 0.0 for 0.
    """
    if isinstance(schema, list):
        return [meaning(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    said = {name: meaning(each) for name, each in schema.items()}
    if said.get("additionalProperties") is True:  # not written before 2.11
        del said["additionalProperties"]
    if "const" in said and said.get("enum") == [said["const"]]:  # written before 2.10
        del said["enum"]
    return said


def test_the_file_is_the_schema_of_the_card_and_the_documentation_has_it() -> None:
    again = "run `python -m model_store.bundle.card`"
    assert meaning(json.loads(SCHEMA_FILE.read_text())) == meaning(json.loads(schema_text())), again
    published = Path(__file__).parents[2] / "docs" / "reference" / "card.schema.json"
    assert published.samefile(SCHEMA_FILE)


def card() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(build_card().model_dump_json())
    return data


def test_a_card_meets_it(validator: jsonschema_rs.Validator) -> None:
    validator.validate(card())


def test_a_card_without_the_optional_fields_meets_it(validator: jsonschema_rs.Validator) -> None:
    data = card()
    for name in card_schema()["properties"].keys() - set(card_schema()["required"]):
        del data[name]
    validator.validate(data)


@pytest.mark.parametrize("place", [(), ("provenance",), ("calibration",), ("input",)])
def test_a_field_of_a_later_candor_meets_it(
    validator: jsonschema_rs.Validator, place: tuple[str, ...]
) -> None:
    data = card()
    inner = data
    for name in place:
        inner = inner[name]
    inner["later"] = {"any": "thing"}
    validator.validate(data)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format_version", 3),
        ("classes", []),
        ("version", 0),
        ("calibration", {}),
        ("files", 1),
    ],
)
def test_what_is_no_card_does_not(
    validator: jsonschema_rs.Validator, name: str, value: object
) -> None:
    assert not validator.is_valid(card() | {name: value})
    assert not validator.is_valid({key: each for key, each in card().items() if key != name})
