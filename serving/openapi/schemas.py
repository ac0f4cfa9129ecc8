"""JSON schemas of what goes in and out, by name: `components/schemas` of the document."""

from typing import Any, Final

from model_store.card import NAME_PATTERN

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    """A reference to a schema below."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Schema, **limits: int) -> Schema:
    """A list of `items`."""
    return {"type": "array", "items": items} | limits


def record(required: str, /, **properties: Schema) -> Schema:
    """An object; `required` names the properties that it always has, separated by spaces."""
    return {"type": "object", "required": required.split(), "properties": properties}


TEXT: Final[Schema] = {"type": "string"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
NUMBER: Final[Schema] = {"type": "number"}
FRACTION: Final[Schema] = {"type": "number", "minimum": 0, "maximum": 1}
FLAG: Final[Schema] = {"type": "boolean"}
ANYTHING: Final[Schema] = {"type": "object"}
MAYBE_TEXT: Final[Schema] = {"type": ["string", "null"]}
MAYBE_NUMBER: Final[Schema] = {"type": ["number", "null"]}
MAYBE_FLAG: Final[Schema] = {"type": ["boolean", "null"]}
BASE64: Final[Schema] = {"type": "string", "contentEncoding": "base64"}

SCHEMAS: Final[dict[str, Schema]] = {
    "Error": record("error detail", error=TEXT, detail=TEXT),
    "Answer": record(
        "prediction_id request_id model version label confidence probabilities refer",
        prediction_id={"type": "string", "format": "uuid"},
        request_id=MAYBE_TEXT,
        model=TEXT,
        version={"type": "integer", "minimum": 1},
        label=TEXT,
        confidence=FRACTION,
        probabilities={"type": "object", "additionalProperties": FRACTION},
        refer=MAYBE_FLAG,
        prediction_set=array(TEXT),
        audit={"type": "boolean"},
        explanation=record("method png", method={"const": "occlusion"}, png=BASE64),
    ),
    "ItemAnswer": {"anyOf": [ref("Answer"), ref("Error")]},
    "Item": {
        "anyOf": [
            BASE64,
            record(
                "image",
                image=BASE64,
                request_id={"type": ["string", "null"], "maxLength": 200},
                tags={"type": ["object", "null"], "additionalProperties": TEXT},
            ),
        ]
    },
    "Label": {
        "description": "Names an answer by prediction_id, or by model and request_id.",
        **record(
            "label",
            prediction_id={"type": "string", "format": "uuid"},
            model={"type": "string", "maxLength": 200},
            request_id={"type": "string", "maxLength": 200},
            label={"type": "string", "maxLength": 200},
            source={"type": "string", "maxLength": 200},
            observed_at={"type": "string", "format": "date-time"},
        ),
    },
    "LabelResult": record(
        "status",
        status={"enum": ["accepted", "unchanged", "corrected", "pending", "unknown", "expired", "rejected"]},
        prediction_id=MAYBE_TEXT,
        detail=MAYBE_TEXT,
    ),
    "LoggedModel": record(
        "model classes",
        model={"type": "string", "pattern": NAME_PATTERN},
        version={"type": "integer", "minimum": 1, "default": 1},
        classes={"type": "array", "items": TEXT, "minItems": 2, "maxItems": 1000},
        reference=record("confidence correct", confidence=array(FRACTION), correct=array(FLAG)),
    ),
    "LoggedPrediction": {
        "description": "An answer given elsewhere: an id of it, and probabilities, or predicted and confidence.",
        **record(
            "",
            model=TEXT,
            version={"type": "integer", "minimum": 1},
            request_id={"type": "string", "maxLength": 200},
            prediction_id={"type": "string", "format": "uuid"},
            probabilities={
                "anyOf": [array(FRACTION), {"type": "object", "additionalProperties": FRACTION}],
            },
            predicted=TEXT,
            confidence=FRACTION,
            served_at={"type": "string", "format": "date-time"},
            tags={"anyOf": [TEXT, {"type": "object", "additionalProperties": TEXT}]},
            audit={"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            label=TEXT,
            source=TEXT,
            observed_at={"type": "string", "format": "date-time"},
        ),
    },
    "LoggedResult": record(
        "status",
        status={"enum": ["accepted", "unchanged", "expired", "rejected"]},
        prediction_id={"type": "string", "format": "uuid"},
        feedback=TEXT,
        detail=TEXT,
    ),
    "TableSummary": {
        "description": "What became of a table (NDJSON or CSV): how many rows got which status, and why some got none.",
        **record(
            "rows statuses problems problems_left_out",
            rows=COUNT,
            statuses={"type": "object", "additionalProperties": COUNT},
            problems=array(record("line status detail", line=COUNT, status=TEXT, detail=TEXT)),
            problems_left_out=COUNT,
        ),
    },
    "Report": {
        "description": "One model version's calibration as the ledger has it: docs/monitoring.md explains each figure.",
        **record(
            "model version versions window status verdict measures reference coverage bins",
            model=TEXT,
            version=COUNT,
            versions=array(COUNT),
            window=TEXT,
            status=TEXT,
            verdict=TEXT,
            temperature=NUMBER,
            measures={"type": "object", "additionalProperties": MAYBE_NUMBER},
            reference={"type": "object"},
            expected_accuracy=MAYBE_NUMBER,
            coverage=record("served labeled ratio", served=COUNT, labeled=COUNT, ratio=MAYBE_NUMBER),
            drift={"type": ["object", "null"]},
            comparison={"type": "object"},
            selection={"type": "object"},
            signs=array(
                record(
                    "name value limit raised sentence",
                    name={
                        **TEXT,
                        "description": "confidence_histogram, expected_accuracy, predicted_class_mix; where the "
                        "card has an input_reference also image_brightness and image_contrast",
                    },
                    value=MAYBE_NUMBER,
                    limit=NUMBER,
                    raised={"type": "boolean"},
                    sentence=TEXT,
                )
            ),
            slices={"type": ["object", "null"]},
            history=array({"type": "object"}),
            recommendation={"type": "object"},
            bins=array(ANYTHING),
        ),
    },
    "Tensor": record(
        "name shape datatype", name=TEXT, shape=array(COUNT), datatype=TEXT, parameters=ANYTHING, data=array({})
    ),
    "InferRequest": record(
        "inputs", id=TEXT, parameters=ANYTHING, inputs=array(ref("Tensor")), outputs=array(record("name", name=TEXT))
    ),
    "InferResponse": record(
        "model_name model_version outputs", model_name=TEXT, model_version=TEXT, id=TEXT, outputs=array(ref("Tensor"))
    ),
    "InferError": record("error", error=TEXT),
}
