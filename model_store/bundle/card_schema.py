"""The JSON Schema of card.json, made from `Card`; in the wheel, and by a link in the documentation.

`python -m model_store.bundle.card_schema` writes it again after a change of the card.
"""

import json
from pathlib import Path
from typing import Any

from model_store.bundle.card import FORMAT_VERSION, Card

SCHEMA_FILE = Path(__file__).with_name("card.schema.json")


def card_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of this format version, of later Candors too.

    Unknown fields are allowed everywhere, because a later Candor may add optional ones.
    """
    generated = Card.model_json_schema(mode="validation")
    generated["required"] = ["format_version", *generated["required"], "files"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:candor:card:{FORMAT_VERSION}",
    } | generated


def schema_text() -> str:
    return json.dumps(card_schema(), indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
