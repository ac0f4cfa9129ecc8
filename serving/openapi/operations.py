"""Every operation of the API: a line of what it does, what it takes, what it answers. A test holds it to the routes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from serving.openapi.schemas import ANYTHING, COUNT, FLAG, TEXT, Schema, array, record, ref

PNG: Final[Schema] = {"type": "string", "format": "binary"}
FORM: Final = record("", **{"file": PNG})


@dataclass(frozen=True)
class Operation:
    """One method of one path. `takes` and `gives` are schemas by media type; `refuses` statuses beside 401 and 403."""

    tag: str
    summary: str
    gives: Mapping[str, Schema]
    takes: Mapping[str, Schema] = field(default_factory=dict)
    takes_nothing_too: bool = False
    parameters: Sequence[Schema] = ()
    refuses: Sequence[int] = ()
    error: str = "Error"


def _header(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _query(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _json(schema: Schema) -> dict[str, Schema]:
    return {"application/json": schema}


WINDOW: Final = _query("window", "all, or last:N labels, days:N, promotion", {"type": "string", "default": "all"})
VERSION: Final = _query("version", "a version; without it the one in production", {"type": "integer", "minimum": 1})
HTML: Final[dict[str, Schema]] = {"text/html": {"type": "string"}}
IMAGES: Final[dict[str, Schema]] = {
    "image/*": PNG,
    "application/dicom": PNG,
    "application/octet-stream": PNG,
    "multipart/form-data": FORM,
    "application/json": array(ref("Item"), minItems=1),
    "application/x-ndjson": ref("Item"),
}
MODEL: Final = Operation(
    "models",
    "A model as TorchServe's management API describes it; version `all` gives every loaded one.",
    _json(array(ANYTHING)),
    refuses=(404, 503),
)
PREDICT: Final = Operation(
    "predictions",
    "Classify an image, or several. A list is answered as a list, with errors in the places of refused items.",
    _json({"anyOf": [ref("Answer"), array(ref("ItemAnswer"))]}),
    IMAGES,
    parameters=(
        _query("explain", "add a heat map to the answer", {"enum": ["occlusion", "none"]}),
        _header("X-Request-Id", "your own id of the image, for feedback", {"type": "string", "maxLength": 200}),
        _header(
            "X-Candor-Tags", "site=A,device=B: where the image comes from, for reports by slice", {"type": "string"}
        ),
        _header("X-Candor-Canary", "true: let the version on trial answer; false: never", FLAG),
    ),
    refuses=(400, 404, 408, 413, 415, 429, 500, 503),
)
V2_ERROR: Final = "InferError"
V2_MODEL: Final = Operation(
    "open inference", "Metadata of a model.", _json(ANYTHING), refuses=(404, 503), error="InferError"
)
V2_READY: Final = Operation(
    "open inference", "Whether a model answers.", _json(ANYTHING), refuses=(404, 503), error="InferError"
)
INFER: Final = Operation(
    "open inference",
    "Infer tensors or encoded images; tensors may follow the JSON in binary.",
    {"application/json": ref("InferResponse"), "application/octet-stream": PNG},
    {"application/json": ref("InferRequest"), "application/octet-stream": PNG},
    parameters=(_header("Inference-Header-Content-Length", "length of the JSON before binary", {"type": "integer"}),),
    refuses=(400, 404, 408, 413, 415, 429, 500, 503),
    error=V2_ERROR,
)


def _begin_anew(summary: str) -> Operation:
    return Operation(
        "calibration",
        summary,
        _json(ANYTHING),
        _json(record("", note={"type": "string"})),
        takes_nothing_too=True,
        parameters=(VERSION,),
        refuses=(400, 404, 408, 413, 422, 503),
    )


OPERATIONS: Final[dict[tuple[str, str], Operation]] = {
    ("POST", "/predictions/{model}"): PREDICT,
    ("POST", "/predictions/{model}/{version}"): PREDICT,
    ("POST", "/feedback"): Operation(
        "feedback",
        "True labels of answers: one, a list, or a table of any length. Sending the same again is safe.",
        _json({"anyOf": [ref("LabelResult"), array(ref("LabelResult")), ref("TableSummary")]}),
        _json({"anyOf": [ref("Label"), array(ref("Label"), minItems=1, maxItems=10_000)]})
        | {"application/x-ndjson": ref("Label"), "text/csv": {"type": "string"}},
        refuses=(400, 404, 408, 413, 415, 422, 503),
    ),
    ("POST", "/models-log"): Operation(
        "predictions from elsewhere",
        "Declare a version of a model that Candor does not serve. The same again changes nothing.",
        _json(record("model version classes", model=TEXT, version=COUNT, classes=array(TEXT))),
        _json(ref("LoggedModel")),
        refuses=(400, 408, 409, 413, 422, 503),
    ),
    ("POST", "/predictions-log"): Operation(
        "predictions from elsewhere",
        "Answers of a declared model: one, a list, or a table of any length. Sending the same again is safe.",
        _json({"anyOf": [ref("LoggedResult"), array(ref("LoggedResult")), ref("TableSummary")]}),
        _json({"anyOf": [ref("LoggedPrediction"), array(ref("LoggedPrediction"), minItems=1, maxItems=10_000)]})
        | {"application/x-ndjson": ref("LoggedPrediction"), "text/csv": {"type": "string"}},
        parameters=(
            _query("model", "for items that name none", {"type": "string"}),
            _query("version", "for items that name none; without any, the newest", {"type": "integer", "minimum": 1}),
        ),
        refuses=(400, 404, 408, 409, 413, 422, 503),
    ),
    ("GET", "/calibration"): Operation("calibration", "Every model's report without its bins.", _json(ANYTHING)),
    ("GET", "/calibration/{model}"): Operation(
        "calibration",
        "How calibrated a model is on what it served.",
        _json(ref("Report")),
        parameters=(VERSION, WINDOW),
        refuses=(404, 422),
    ),
    ("GET", "/calibration/{model}/page"): Operation(
        "calibration", "The report for people.", HTML, parameters=(VERSION, WINDOW), refuses=(404, 422)
    ),
    ("GET", "/calibration/{model}/slices"): Operation(
        "calibration",
        "For whom: calibration by predicted class and tag, worst first, and by true class.",
        _json(ANYTHING),
        parameters=(VERSION, WINDOW),
        refuses=(404, 422),
    ),
    ("GET", "/calibration/{model}/history"): Operation(
        "calibration",
        "What happened to a model: starts, promotions, alarms, acknowledgments, resets, settings.",
        _json(ANYTHING),
        parameters=(VERSION,),
        refuses=(404, 422),
    ),
    ("POST", "/calibration/{model}/acknowledge"): _begin_anew("Acknowledge the drift alarm: the watch begins anew."),
    ("POST", "/calibration/{model}/reset"): _begin_anew("Begin the watch anew where there is no alarm to answer."),
    ("GET", "/models"): Operation("models", "What is loaded, and what was refused and why.", _json(ANYTHING)),
    ("GET", "/models/{model}"): MODEL,
    ("GET", "/models/{model}/{version}"): MODEL,
    ("GET", "/healthz"): Operation("health", "Whether the process lives.", _json(ANYTHING)),
    ("GET", "/readyz"): Operation("health", "Whether a model is loaded.", _json(ANYTHING), refuses=(503,)),
    ("GET", "/ping"): Operation("health", "TorchServe's health check.", _json(ANYTHING)),
    ("GET", "/metrics"): Operation("metrics", "Prometheus text, or OpenMetrics.", {"text/plain": {"type": "string"}}),
    ("GET", "/"): Operation("pages", "All models at a glance.", HTML),
    ("GET", "/docs"): Operation("pages", "This description.", HTML),
    ("GET", "/openapi.json"): Operation("pages", "This description for programs.", _json(ANYTHING)),
    ("GET", "/v2"): Operation("open inference", "Name, version and extensions.", _json(ANYTHING)),
    ("GET", "/v2/health/live"): Operation("open inference", "Whether the process lives.", _json(ANYTHING)),
    ("GET", "/v2/health/ready"): Operation("open inference", "Whether a model answers.", _json(ANYTHING)),
    ("GET", "/v2/models/{model}"): V2_MODEL,
    ("GET", "/v2/models/{model}/versions/{version}"): V2_MODEL,
    ("GET", "/v2/models/{model}/ready"): V2_READY,
    ("GET", "/v2/models/{model}/versions/{version}/ready"): V2_READY,
    ("POST", "/v2/models/{model}/infer"): INFER,
    ("POST", "/v2/models/{model}/versions/{version}/infer"): INFER,
}
