"""The table of settings: the type of each, its limits, its default and what it is for.

`hosting.settings` reads them, refuses those that contradict each other, and derives what follows
from them.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from calibration.strict_json import read_json
from monitoring.sources import LabelPolicy, check_policies, read_pairs

Device = Literal["auto", "cpu", "cuda", "tensorrt"]
Engine = Literal["process", "ray"]
OnDifference = Literal["refuse", "warn"]
OnAlarm = Literal["off", "propose", "publish", "promote"]
Port = Annotated[int, Field(ge=0, le=65_535)]
Share = Annotated[float, Field(ge=0, le=1)]
ReplicaCount = Annotated[int, Field(ge=1, le=10_000)]


def _read_list(value: Any) -> Any:
    """The parts of a text: a JSON list, or names between commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return read_json(value)
        except ValueError as error:
            raise ValueError(
                f"expected a JSON list of texts, or texts between commas ({error})"
            ) from error
    return [part.strip() for part in value.split(",") if part.strip()]


def _read_object(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return read_json(value)
    except ValueError as error:
        raise ValueError(f"expected a JSON object ({error})") from error


def _read_policies(value: Any) -> Any:
    """The policies of label sources: a JSON object, or pairs between commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        return check_policies(_read_object(value))
    return read_pairs(_read_list(value))


Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_read_list)]
Policies = Annotated[dict[str, LabelPolicy], NoDecode, BeforeValidator(_read_policies)]
Tolerances = Annotated[dict[str, float], NoDecode, BeforeValidator(_read_object)]


class SettingTable(BaseSettings):
    """Every setting, in the order in which documentation and `candor config show` list them."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every interface."""
    port: Port = 8080
    """Port to listen on; 0 chooses a free port and prints it."""
    store: Annotated[str, BeforeValidator(str)] = "model_store/models"
    """The model store: a folder, or an address such as s3://bucket/models."""
    require_signature: Path | None = None
    """File with a public key: only bundles that its owner has signed are served, promoted or tried.
    """
    ledger: str = Field("sqlite:///./candor.db", repr=False)
    """URL of the database for predictions and labels; 'off': none."""
    ledger_file: Path | None = None
    """File that holds the URL of the ledger, such as a Docker or Kubernetes secret."""
    spool: Path = Path("candor.spool")
    """File of the spool; each server process needs its own."""
    spool_limit_bytes: int = Field(0, ge=0)
    """Size of the spool, reserved at startup, for answers while the ledger cannot be written; an
    answer takes at least 200 bytes. 0: no spool, and such answers are withheld."""
    patient_key_file: Path | None = None
    """File with the secret that hashes patients, at least 16 characters, the same on every server
    and monitor of a ledger; unset: one that the ledger makes and holds."""
    patient_from_dicom: bool = False
    """Take the patient of a DICOM file from its PatientID where a request names none."""
    data: Path | None = None
    """Folder with datasets and pretrained weights, for training and the demo."""

    device: Device = "auto"
    """Device for inference: auto (CUDA if available, else CPU), cpu, cuda or tensorrt."""
    on_difference: OnDifference = "refuse"
    """What is done with a version that answers the bundle's probe images differently on this
    machine than where it was published: refuse to load it, or warn."""
    threads: int = Field(0, ge=0, le=1024)
    """Inference threads on the CPU; 0: one per available core, or one for a light model."""
    max_batch: int = Field(16, ge=1, le=256)
    """Largest batch, in images."""
    memory_bytes: int = Field(6 * 2**30, ge=3 * 2**28)
    """Memory for images, in bytes. A third is for decoding, in equal shares of its processes from
    their start; an image that would need more is refused. The rest is for inference on the CPU,
    beside the weights; a version that needs more is stopped."""

    engine: Engine = "process"
    """What runs the server: one process, or Ray, as replicas on the machines of a cluster."""
    ray_min_replicas: ReplicaCount = 1
    """Fewest replicas on the Ray cluster."""
    ray_max_replicas: ReplicaCount = 8
    """Most replicas on the Ray cluster, which adds some while they have more than CANDOR_MAX_BATCH
    requests each. A replica has CANDOR_THREADS cores, or one."""

    deadline_s: float | None = Field(None, gt=0)
    """Longest predicted wait in seconds; requests that would wait longer get 429. Unset: what 64
    waiting images need, or one second if that is more."""
    max_body_bytes: int = Field(64 * 2**20, ge=1)
    """Largest request body, in bytes. All bodies together may have four times as much, and no less
    than 256 MiB."""
    max_items: int = Field(256, ge=1, le=10_000)
    """Most images in a request."""
    max_pixels: int = Field(50_000_000, ge=1)
    """Largest image, in pixels after decoding. The larger, the fewer are decoded at a time."""
    body_timeout_s: float = Field(10.0, gt=0)
    """Seconds in which a client must send its body."""

    drain_delay_s: float = Field(0.2, ge=0)
    """Seconds after SIGTERM in which the server is not ready but still accepts requests, until all
    proxies know. Admitted requests then have 25 s, or twice CANDOR_DEADLINE_S, to be answered."""

    tokens: SecretStr | None = None
    """Bearer tokens, `TOKEN scope[,scope] [name]` between semicolons; unset, and no file: all is
    open."""
    tokens_file: Path | None = None
    """File with one token per line, in the same format."""
    tls_certificate: Path | None = None
    """Certificate chain (PEM) for HTTPS."""
    tls_key: Path | None = None
    """Private key (PEM) of the certificate."""
    hosts: Texts = ()
    """Names under which clients reach this server, besides the address that it listens on, IP
    addresses, and names without a dot: a JSON list, or between commas; `*` for all."""
    cors_origins: Texts = ()
    """Other origins whose pages may call the API: a JSON list, or between commas."""
    traces: bool = False
    """Send OpenTelemetry traces of requests (extra `traces`)."""
    log_requests: bool = False
    """Log a line for each request: its id, the name of its token, model, version, outcome, status,
    duration and trace."""

    monitor: Literal["inside", "apart"] = "inside"
    """Process that takes labels and shows reports: the server itself (inside), or `candor monitor`
    (apart) while the server only records its answers."""
    retention_days: int | None = Field(None, ge=1, le=36_500)
    """Days for which answers and labels are kept; unset: forever."""
    keep_pictures_days: float | None = Field(None, gt=0, le=36_500)
    """Days for which the ledger keeps what the model saw of each answer, for those who label;
    unset: no pictures."""
    image_link: str | None = None
    """Address of an image in the archive, for links from its answer: `{request_id}` or
    `{prediction_id}` is replaced, as in `https://pacs.example/viewer?accession={request_id}`."""
    drift_average_run_length: float = Field(1e5, gt=1)
    """Least average number of labels between two false drift alarms."""
    drift_tolerance: float = Field(0.025, ge=0, le=1)
    """Error of the confidence that raises no alarm: this times 1 + z^2, in log-odds, at confidences
    of log-odds z. 0.025 is 1.0 point at 80 %, 1.1 points at 95 % and 0.5 points at 99.5 %."""
    drift_tags: Texts | None = None
    """At most three keys of tags, a JSON list or between commas: the drift watch watches each of
    their values by itself, too. Unset: those that another process has set; `[]`: none."""
    drift_tag_tolerances: Tolerances = {}
    """Tolerances of tags in place of CANDOR_DRIFT_TOLERANCE, as JSON: `{"site": 0.05, "site=B":
    0.1}`."""
    label_sources: Policies | None = None
    """What labels of a source count as, for models without a policy of their own: `report=proxy,
    test=ignore`, or JSON. A source that is not named is truth. Unset: as another process has set.
    """
    scope_alpha: float = Field(0.05, gt=0, lt=1)
    """Images with a `scope_p` up to this are doubtful. Of them, those up to a tenth of it, or
    unlike all calibration images, are out of scope."""
    scope_out: Literal["answer", "withhold", "refuse"] = "answer"
    """What becomes of images that are out of scope: an answer; an answer without confidence; or a
    refusal (422)."""
    audit_share: Share = 0.0
    """Share of answers drawn at random to be labeled regardless of their outcome. Once one process
    has drawn, the drift watch of that version uses only their labels, in every process."""
    recalibrate_on_alarm: OnAlarm = "off"
    """What the leading process does while the drift alarm of a production version is active:
    nothing (off); propose a recalibration in the history, on the page, in the log and as a metric;
    publish it as a version too; or promote that version too."""
    recalibrate_label_changes: bool = False
    """Let a recalibration on an alarm use remedies that may change the predicted class."""
