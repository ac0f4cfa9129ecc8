"""A bundle as a model repository for NVIDIA Triton, and for KServe, which runs Triton.

    REPOSITORY/NAME/config.pbtxt      name, backend, tensors, batching, instances
    REPOSITORY/NAME/labels.txt        a class per line, for Triton's classification answers
    REPOSITORY/NAME/VERSION/model.onnx

Source of the layout: Triton's "Model Repository" and "Model Configuration"; KServe's Triton runtime
mounts the same.
"""

import json
import re
import shutil
import tempfile
from pathlib import Path

from model_store.bundle.bundle import CARD_FILE, MODEL_FILE, Bundle
from model_store.bundle.card import Card
from model_store.bundle.graph import INPUT, OUTPUT
from model_store.bundle.scope_graph import SCOPE_P, SCOPE_SCORE
from model_store.errors import RepositoryError

MAX_BATCH, QUEUE_DELAY_US = 32, 2_000
CONFIG_FILE, LABELS_FILE, SERVICE_FILE = "config.pbtxt", "labels.txt", "inference-service.yaml"
_MODELS = "models"


def write_triton(bundle: Bundle, repository: Path) -> Path:
    """Write a bundle as a version of its model in a Triton repository; return the folder.

    Raises RepositoryError: the repository has this version, or the model there has another input or
    other classes.
    """
    card, model = bundle.card, repository / bundle.card.name
    version, config, labels = model / str(card.version), _config(bundle), _labels(card)
    if version.exists():
        raise RepositoryError(
            f"{version} exists, and a version never changes; remove it or name another --out"
        )
    files = {name: model / name for name in (CONFIG_FILE, LABELS_FILE)}
    if files[LABELS_FILE].is_file() and files[LABELS_FILE].read_text(encoding="utf-8") != labels:
        raise RepositoryError(f"{files[LABELS_FILE]} has other classes; name another --out")
    old = files[CONFIG_FILE].read_text(encoding="utf-8") if files[CONFIG_FILE].is_file() else None
    if old is not None and _tensors(old) != _tensors(config):
        raise RepositoryError(
            f"{files[CONFIG_FILE]} has another input or output; name another --out"
        )
    model.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=repository))
    try:
        (draft / MODEL_FILE).write_bytes(bundle.onnx)
        (draft / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        draft.chmod(0o755)
        files[CONFIG_FILE].write_text(config, encoding="utf-8")
        files[LABELS_FILE].write_text(labels, encoding="utf-8")
        draft.rename(version)  # last, for a Triton that watches the repository
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return version


def write_kserve(bundle: Bundle, folder: Path, *, storage_uri: str) -> Path:
    """Write FOLDER/models for Triton, and an InferenceService; return the latter's file.

    `storage_uri` is where you copy FOLDER/models to. Raises RepositoryError as `write_triton`.
    """
    write_triton(bundle, folder / _MODELS)
    service = folder / SERVICE_FILE
    service.write_text(_service(bundle, storage_uri), encoding="utf-8")
    return service


def _config(bundle: Bundle) -> str:
    card, shape = bundle.card, bundle.card.input
    scope = "".join(
        f',\n  {{ name: "{name}" data_type: TYPE_FP32 dims: [ 1 ] reshape: {{ shape: [ ] }} }}'
        for name in ((SCOPE_SCORE, SCOPE_P) if card.scope else ())
    )
    parameters = {"bundle_digest": bundle.digest}
    if card.referral is not None:
        parameters["referral_threshold"] = repr(card.referral.threshold)
    said = "".join(
        f'parameters {{ key: "{key}" value {{ string_value: {json.dumps(value)} }} }}\n'
        for key, value in parameters.items()
    )
    return f"""name: {json.dumps(card.name)}
backend: "onnxruntime"
max_batch_size: {MAX_BATCH}
input [
  {{ name: "{INPUT}" data_type: TYPE_UINT8 dims: {[shape.channels, shape.height, shape.width]} }}
]
output [
  {{
    name: "{OUTPUT}" data_type: TYPE_FP32 dims: [ {len(card.classes)} ]
    label_filename: "{LABELS_FILE}"
  }}{scope}
]
dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_DELAY_US} }}
instance_group [ {{ count: 1 kind: KIND_AUTO }} ]
version_policy {{ latest {{ num_versions: 1 }} }}
{said}"""


def _tensors(config: str) -> str:
    """Everything that has to be the same for all versions of a model."""
    return config.partition("parameters")[0]


def _labels(card: Card) -> str:
    return "".join(f"{' '.join(name.split())}\n" for name in card.classes)


def _service(bundle: Bundle, storage_uri: str) -> str:
    """The manifest; JSON texts are YAML texts."""
    card = bundle.card
    return f"""apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {json.dumps(_dns_name(card.name))}
  annotations:
    candor/model: {json.dumps(f"{card.name}/{card.version}")}
    candor/bundle-digest: {json.dumps(bundle.digest)}
spec:
  predictor:
    model:
      runtime: kserve-tritonserver
      modelFormat:
        name: onnx
      protocolVersion: v2
      storageUri: {json.dumps(storage_uri)}
"""


def _dns_name(name: str) -> str:
    """Return a name that Kubernetes accepts.

    >>> _dns_name("Chest_X-ray.v2"), _dns_name("7-")
    ('chest-x-ray-v2', 'model-7')
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:50].strip("-")
    return plain if plain[:1].isalpha() else f"model-{plain}".strip("-")
