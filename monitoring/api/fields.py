"""Types of fields that several bodies have."""

from typing import Annotated, Final, TypeAlias

from msgspec import Meta

ID_LIMIT: Final = 200  # characters of an id, a model's name, a label or a source

Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=ID_LIMIT)]
Uuid: TypeAlias = Annotated[Text, Meta(extra_json_schema={"format": "uuid"})]
Moment: TypeAlias = Annotated[
    Text, Meta(description="ISO 8601; UTC where it names no zone", examples=["2026-11-25"])
]
Version: TypeAlias = Annotated[int, Meta(ge=1, lt=10**9)]
Fraction: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
