"""Schemas of the custom resources that `deploy/kubernetes` uses, as far as it uses them; any other
field is an error.

Sources: "API reference" of the Prometheus operator (monitoring.coreos.com/v1: ServiceMonitor,
PrometheusRule), and the "Control Plane API" reference of KServe (serving.kserve.io: ServingRuntime
v1alpha1, InferenceService v1beta1).
"""

from typing import Any, Final

Schema = dict[str, Any]
TEXT: Final[Schema] = {"type": "string", "minLength": 1}
TEXTS: Final[Schema] = {"type": "object", "additionalProperties": {"type": "string"}}
DURATION: Final[Schema] = {"type": "string", "pattern": r"^([0-9]+(ms|s|m|h|d|w|y))+$"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
LIST_OF_CORE: Final[Schema] = {"type": "array", "minItems": 1, "items": {"type": "object"}}


def _object(required: str = "", **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "minItems": 1, "items": items}


def _resource(api: str, kind: str, spec: Schema) -> Schema:
    metadata = _object("name", name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS)
    whole = _object(
        "apiVersion kind metadata spec",
        apiVersion={"const": api},
        kind={"const": kind},
        metadata=metadata,
        spec=spec,
    )
    return whole | {"$id": api}


_SECRET_KEY = _object("name key", name=TEXT, key=TEXT, optional={"type": "boolean"})
_RULE = _object(
    "expr",
    alert=TEXT,
    record={"type": "string", "pattern": "^[a-zA-Z_:][a-zA-Z0-9_:]*$"},
    expr=TEXT,
    labels=TEXTS,
    annotations=TEXTS,
    keep_firing_for=DURATION,
    **{"for": DURATION},
) | {"oneOf": [{"required": ["alert"]}, {"required": ["record"]}]}
_FORMAT = _object("name", name=TEXT, version=TEXT)

SCHEMAS: Final[dict[str, Schema]] = {
    "ServiceMonitor": _resource(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        _object(
            "selector endpoints",
            jobLabel=TEXT,
            selector=_object("matchLabels", matchLabels=TEXTS),
            endpoints=_list(
                _object(
                    "port",
                    port=TEXT,
                    path={"type": "string", "pattern": "^/"},
                    interval=DURATION,
                    scrapeTimeout=DURATION,
                    scheme={"enum": ["http", "https"]},
                    authorization=_object("credentials", type=TEXT, credentials=_SECRET_KEY),
                )
            ),
        ),
    ),
    "PrometheusRule": _resource(
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        _object(
            "groups",
            groups=_list(_object("name rules", name=TEXT, interval=DURATION, rules=_list(_RULE))),
        ),
    ),
    "ServingRuntime": _resource(
        "serving.kserve.io/v1alpha1",
        "ServingRuntime",
        _object(
            "containers supportedModelFormats",
            supportedModelFormats=_list(
                _object(
                    "name", name=TEXT, version=TEXT, autoSelect={"type": "boolean"}, priority=COUNT
                )
            ),
            protocolVersions=_list({"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]}),
            multiModel={"type": "boolean"},
            containers=LIST_OF_CORE,  # a test checks them as those of a pod
            volumes=LIST_OF_CORE,
        ),
    ),
    "InferenceService": _resource(
        "serving.kserve.io/v1beta1",
        "InferenceService",
        _object(
            "predictor",
            predictor=_object(
                "model",
                minReplicas=COUNT,
                maxReplicas=COUNT,
                serviceAccountName=TEXT,
                model=_object(
                    "modelFormat",
                    modelFormat=_FORMAT,
                    runtime=TEXT,
                    protocolVersion={"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]},
                    storageUri={"type": "string", "pattern": "^(pvc|s3|gs|hf|https)://"},
                ),
            ),
        ),
    ),
}
