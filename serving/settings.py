"""All settings of Candor in one frozen table. Nothing else reads CANDOR_ variables; training also reads torchrun's.

The variable CANDOR_X sets the field x. A CANDOR_ variable without a field is refused, so that a misspelled setting is
not ignored silently; only what Kubernetes injects (`serving.service_links`) is passed over. No sentence repeats a value
that may hold a password or a token.
"""

import difflib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from model_store.operating_system import usable_cores
from monitoring.api.body_budget import DEFAULT_BYTES
from monitoring.drift.tag_settings import TagSettings
from monitoring.errors import TagsInvalid
from serving.errors import SettingsError
from serving.service_links import PREFIX, EnvironmentWithoutLinks, service_links

if TYPE_CHECKING:
    from model_store.store import Store

SECRET: Final = frozenset({"ledger", "report_webhook", "tokens"})  # their values are never repeated
_MAY_HOLD_SECRET: Final = re.compile(r"://|@|passw|secret|token", re.IGNORECASE)

BODY_SHARES: Final = 4  # of the largest body in the memory of all: three copies at its peak, and room for small ones

Device = Literal["auto", "cpu", "cuda", "tensorrt"]
PrecisionChoice = Literal["float32", "float16", "int8", "auto"]
Engine = Literal["process", "ray"]
OnAlarm = Literal["off", "propose", "publish", "promote"]


def _read_list(value: Any) -> Any:
    """The parts of a text: a JSON list, or names between commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError("expected a JSON list of texts, or texts between commas") from error
    return [part.strip() for part in value.split(",") if part.strip()]


def _read_object(value: Any) -> Any:
    """The object that a JSON text is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError("expected a JSON object of numbers") from error


Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_read_list)]
Tolerances = Annotated[dict[str, float], NoDecode, BeforeValidator(_read_object)]


class Settings(BaseSettings):
    """The settings. Raises SettingsError for an unknown variable, ValidationError for an invalid value."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", allow_inf_nan=False)

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 chooses a free port and prints it.")
    fronts: int = Field(
        1,
        ge=0,
        le=64,
        description="Processes that read HTTP and decode small images for the one that infers; 1: that one does it "
        "itself; 0: by the number of cores, 1 below 4, 2 below 8, else 4.",
    )
    grpc_port: int | None = Field(
        None, ge=0, le=65535, description="Port of the gRPC service (Open Inference Protocol); unset: no gRPC."
    )
    store: Annotated[str, BeforeValidator(str)] = Field(
        "model_store/models", description="The model store: a folder, or an address such as s3://bucket/models."
    )
    require_signature: Path | None = Field(
        None,
        description="File with a public key: only bundles that its owner has signed are served, promoted or tried.",
    )
    store_cache: Path | None = Field(
        None,
        description="Folder for copies of the bundles of a store at an address, from which a server starts while the "
        "store is away; unset: ~/.cache/candor/store.",
    )
    ledger: str = Field(
        "sqlite:///./candor.db", repr=False, description="URL of the database for predictions and labels; 'off': none."
    )
    ledger_file: Path | None = Field(
        None, description="File that holds the URL of the ledger, such as a Docker or Kubernetes secret."
    )
    ledger_required: bool = Field(
        True,
        description="Withhold answers that cannot be written to the ledger; false: spool them and write them later.",
    )
    spool: Path = Field(Path("candor.spool"), description="File of the spool; each server process needs its own.")
    spool_limit_bytes: int = Field(
        64 * 2**20, ge=2**16, description="Size of the spool, reserved at startup; an answer takes at least 200 bytes."
    )
    data: Path | None = Field(
        None, description="Folder with datasets and pretrained weights, for training and the demo."
    )

    device: Device = Field(
        "auto", description="Device for inference: auto (CUDA if available, else CPU), cpu, cuda or tensorrt."
    )
    precision: PrecisionChoice = Field(
        "float32",
        description="Precision in which to serve a bundle that has several; auto: by the device, float16 on a GPU and "
        "int8 on the CPU. A bundle without it is served as its model.onnx is.",
    )
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="Inference threads on the CPU; 0: one per available core, or one for a light model.",
    )
    spinning: bool = Field(
        False,
        description="Let inference threads spin between batches: faster on an idle machine, slower on a shared one.",
    )
    max_batch: int = Field(16, ge=1, le=256, description="Largest batch, in images.")
    poll_s: float | None = Field(
        None,
        gt=0,
        le=3600,
        description="Seconds between scans of the model store for a new production version; unset: 0.5, or 5 if the "
        "store is at an address.",
    )

    engine: Engine = Field(
        "process", description="What runs the server: one process, or Ray, as replicas on the machines of a cluster."
    )
    ray_min_replicas: int = Field(1, ge=1, le=10_000, description="Fewest replicas on the Ray cluster.")
    ray_max_replicas: int = Field(
        8,
        ge=1,
        le=10_000,
        description="Most replicas on the Ray cluster, which adds some while they have more than CANDOR_MAX_BATCH "
        "requests each.",
    )
    ray_upscale_s: float = Field(
        30,
        ge=0,
        le=86_400,
        description="Seconds of more load than that before Ray adds replicas; it decides every ten.",
    )
    ray_downscale_s: float = Field(
        600, ge=0, le=86_400, description="Seconds of less load before Ray takes replicas away."
    )
    ray_metrics_port: int = Field(
        0,
        ge=0,
        le=65_435,
        description="First of the 100 ports of which a replica takes a free one for its metrics; 0: any free port.",
    )
    ray_replica_cpus: float = Field(
        1.0,
        gt=0,
        le=1024,
        description="Processor cores that Ray reserves for a replica, which infers with as many threads.",
    )

    deadline_s: float | None = Field(
        None,
        gt=0,
        description="Longest predicted wait in seconds; requests that would wait longer get 429. Unset: what 64 "
        "waiting images need, or one second if that is more.",
    )
    refusal_hold_s: float = Field(
        0.5, ge=0, le=30, description="Seconds by which a 429 is delayed, so that clients do not retry at once."
    )
    refusal_limit: int = Field(
        1024, ge=0, description="Most 429 answers delayed at a time; further ones close the connection at once."
    )
    max_body_bytes: int = Field(64 * 2**20, ge=1, description="Largest request body, in bytes.")
    body_memory_bytes: int | None = Field(
        None,
        ge=2**20,
        description="Memory of all request bodies together and of what is made of them, in bytes; at least, and if "
        "unset, four times CANDOR_MAX_BODY_BYTES, and no less than 256 MiB if unset.",
    )
    max_items: int = Field(256, ge=1, le=10_000, description="Most images in a request.")
    max_pixels: int = Field(50_000_000, ge=1, description="Largest image, in pixels after decoding.")
    decode_memory_bytes: int = Field(
        2**30,
        ge=2**28,
        description="Memory of all decoding processes together, in bytes; an image that would need more is refused.",
    )
    decode_cpu_s: float = Field(
        10.0, ge=1, le=600, description="Most processor time for decoding one image, in seconds."
    )
    decode_processes: int = Field(
        0, ge=0, le=256, description="Most decoding processes; 0: one per available core, as far as the memory reaches."
    )
    body_timeout_s: float = Field(10.0, gt=0, description="Seconds in which a client must send its body.")

    drain_delay_s: float = Field(
        0.2, ge=0, description="Seconds after SIGTERM in which the server is not ready but still accepts requests."
    )
    drain_s: float = Field(25.0, gt=0, description="Seconds after SIGTERM in which admitted requests must be answered.")

    tokens: SecretStr | None = Field(
        None,
        description="Bearer tokens, `TOKEN scope[,scope] [name]` between semicolons; unset, and no file: all is open.",
    )
    tokens_file: Path | None = Field(None, description="File with one token per line, in the same format.")
    tls_certificate: Path | None = Field(None, description="Certificate chain (PEM) for HTTPS.")
    tls_key: Path | None = Field(None, description="Private key (PEM) of the certificate.")
    hosts: Texts = Field(
        (),
        description="Names under which clients reach this server, besides the address that it listens on, IP "
        "addresses, and names without a dot: a JSON list, or between commas; `*` for all.",
    )
    cors_origins: Texts = Field(
        (), description="Other origins whose pages may call the API: a JSON list, or between commas."
    )
    report_webhook: SecretStr | None = Field(
        None,
        description="Address to which `candor report --every` posts each report as JSON. It may hold a token, so it is "
        "never printed.",
    )
    traces: bool = Field(False, description="Send OpenTelemetry traces of requests (extra `traces`).")

    monitor: Literal["inside", "apart"] = Field(
        "inside",
        description="Process that takes labels and shows reports: the server itself (inside), or `candor monitor` "
        "(apart) while the server only records its answers.",
    )
    monitor_url: str | None = Field(
        None,
        pattern="^https?://",
        description="Address of the `candor monitor` to which a TorchServe sends its answers.",
    )
    monitor_token_file: Path | None = Field(
        None, description="File with the token for that monitor; its scope is `admin`, which declares models."
    )
    monitor_outbox: Path | None = Field(
        None,
        description="Folder in which a TorchServe's answers wait for the monitor; unset: below the temporary folder.",
    )
    retention_days: int | None = Field(
        None, ge=1, le=36_500, description="Days for which answers and labels are kept; unset: forever."
    )
    keep_pictures_days: float | None = Field(
        None,
        gt=0,
        le=36_500,
        description="Days for which the ledger keeps what the model saw of each answer, for those who label; unset: no "
        "pictures.",
    )
    keep_pictures_bytes: int = Field(
        2**30, ge=2**20, description="Most bytes of all pictures together; the oldest make room."
    )
    drift_average_run_length: float = Field(
        1e5, gt=1, description="Least average number of labels between two false drift alarms."
    )
    drift_tolerance: float = Field(
        0.01, ge=0, lt=0.5, description="Difference between confidence and accuracy that raises no alarm."
    )
    drift_streams: Literal["class-wise", "top-label"] = Field(
        "class-wise",
        description="What the drift watch claims of confidence: that it is true in the answers of each predicted class "
        "(class-wise), or only on average over the classes (top-label).",
    )
    drift_tags: Texts | None = Field(
        None,
        description="At most three keys of tags, a JSON list or between commas: the drift watch watches each of their "
        "values by itself, too. Unset: those that another process has set; `[]`: none.",
    )
    drift_tag_tolerances: Tolerances = Field(
        {},
        description='Tolerances of tags in place of CANDOR_DRIFT_TOLERANCE, as JSON: `{"site": 0.02, "site=B": 0.03}`.',
    )
    audit_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of answers drawn at random to be labeled regardless of their outcome. Once one process has "
        "drawn, the drift watch of that version uses only their labels, in every process.",
    )
    recalibrate_on_alarm: OnAlarm = Field(
        "off",
        description="What the leading process does while the drift alarm of a production version is active: nothing "
        "(off); propose a recalibration in the history, on the page, in the log and as a metric; publish it as a "
        "version too; or promote that version too.",
    )
    recalibrate_interval_s: float = Field(
        86_400.0, ge=60, description="Least seconds between two recalibrations of a model on an alarm."
    )
    recalibrate_min_labels: int = Field(
        100,
        ge=20,
        description="Fewest labels since the drift began, and fewest new ones since the last attempt, for a "
        "recalibration on an alarm.",
    )
    recalibrate_label_changes: bool = Field(
        False, description="Let a recalibration on an alarm use remedies that may change the predicted class."
    )
    recalibrate_max_factor: float = Field(
        2.0,
        ge=1,
        description="Largest factor by which recalibrations on alarms may change the temperature of the last version "
        "that a person published.",
    )
    recalibrate_max_bias: float = Field(
        1.0, ge=0, description="Largest change of the bias of a class by recalibrations on alarms, in nats."
    )
    metrics_zero_s: float = Field(
        0.0,
        ge=0,
        le=3_600,
        description="Seconds for which Prometheus reads the counters of a new version, or process, at zero before it "
        "reads the counts; 0: one read. With several Prometheus servers: the longest interval between their reads.",
    )
    exemplars: bool = Field(
        False, description="Attach a prediction_id to request durations in OpenMetrics (exemplars)."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments come before the environment; nothing else is read."""
        return init_settings, EnvironmentWithoutLinks(settings_cls)

    @model_validator(mode="before")
    @classmethod
    def _read_environment(cls, values: dict[str, Any]) -> dict[str, Any]:
        links = service_links(os.environ)
        refuse_unknown((name for name in os.environ if name not in links), known=cls.model_fields)
        file = values.get("ledger_file")
        if file is None:
            return values
        if values.get("ledger"):
            raise SettingsError(
                "CANDOR_LEDGER and CANDOR_LEDGER_FILE are both set; unset one of them, or give the first no value "
                "where an image sets it"
            )
        return values | {"ledger": _read_secret(Path(file), setting="CANDOR_LEDGER_FILE")}

    @model_validator(mode="after")
    def _check_body_memory(self) -> "Settings":
        least = BODY_SHARES * self.max_body_bytes
        if self.body_memory_bytes is not None and self.body_memory_bytes < least:
            raise ValueError(
                f"CANDOR_BODY_MEMORY_BYTES must be at least {least}, four times CANDOR_MAX_BODY_BYTES; got "
                f"{self.body_memory_bytes}."
            )
        return self

    @model_validator(mode="after")
    def _check_webhook(self) -> "Settings":
        if self.report_webhook and not _is_web_address(self.report_webhook.get_secret_value()):
            raise ValueError(
                "CANDOR_REPORT_WEBHOOK must be an address that begins with http:// or https://; its value is not shown."
            )
        return self

    @model_validator(mode="after")
    def _check_signing(self) -> "Settings":
        if self.require_signature is not None and self.recalibrate_on_alarm == "promote":
            raise ValueError(
                "CANDOR_RECALIBRATE_ON_ALARM=promote cannot be kept with CANDOR_REQUIRE_SIGNATURE: no process holds "
                "the key to sign what it makes; let it publish, then sign and promote the version."
            )
        return self

    @model_validator(mode="after")
    def _check_tags(self) -> "Settings":
        try:
            self.watched_tags  # noqa: B018 its error is the finding
        except TagsInvalid as error:
            raise ValueError(f"CANDOR_DRIFT_TAGS, CANDOR_DRIFT_TAG_TOLERANCES: {error}") from None
        return self

    @property
    def watched_tags(self) -> TagSettings | None:
        """The tags that have drift watches of their own; None leaves those that the ledger has."""
        if self.drift_tags is None and not self.drift_tag_tolerances:
            return None
        return TagSettings(self.drift_tags or (), self.drift_tag_tolerances)

    @property
    def body_budget_bytes(self) -> int:
        """The memory of all request bodies together."""
        return self.body_memory_bytes or max(BODY_SHARES * self.max_body_bytes, DEFAULT_BYTES)

    @property
    def front_count(self) -> int:
        """How many processes read HTTP."""
        return self.fronts or fronts_for(usable_cores())

    @property
    def scan_s(self) -> float:
        """Seconds between scans of the store: each costs a store at an address one request."""
        return self.poll_s or (5.0 if "://" in self.store else 0.5)

    @property
    def opened_store(self) -> "Store":
        """The model store. Connects to nothing."""
        from model_store.signature import read_public_key
        from model_store.store import open_store

        key = None if self.require_signature is None else read_public_key(self.require_signature)
        cache = self.store_cache or Path.home() / ".cache" / "candor" / "store"
        return open_store(self.store, cache=cache, key=key)

    @property
    def tokens_text(self) -> str | None:
        """The tokens in plain text."""
        return None if self.tokens is None else self.tokens.get_secret_value()

    @property
    def ledger_url(self) -> str | None:
        """The database URL of the ledger; None if it is off."""
        return None if self.ledger.strip().lower() in ("", "off", "none") else self.ledger


def load_settings(**overrides: Any) -> Settings:
    """Settings from `overrides` that are not None, else from the environment. Raises SettingsError."""
    given = {name: value for name, value in overrides.items() if value is not None}
    if "ledger" in given:
        given.setdefault("ledger_file", None)
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError(
            "; ".join(_sentence(item["loc"], item["msg"], item["input"]) for item in error.errors())
        ) from None


def fronts_for(cores: int) -> int:
    """How many fronts pay on so many cores, by what an answer costs a front and the main process (decision 67).

    >>> [fronts_for(cores) for cores in (1, 3, 4, 7, 8, 64)]
    [1, 1, 2, 2, 4, 4]
    """
    return 1 if cores < 4 else 2 if cores < 8 else 4


def ignored_variables() -> list[str]:
    """The variables of the environment that Kubernetes injected, and that are not read."""
    return service_links(os.environ)


def refuse_unknown(environment: Iterable[str], *, known: Iterable[str]) -> None:
    """Raise SettingsError for the first CANDOR_ variable that is not a setting, with the most similar one."""
    names = {f"{PREFIX}{name.upper()}" for name in known}
    for variable in sorted(environment):
        if variable.upper().startswith(PREFIX) and variable.upper() not in names:
            nearest = difflib.get_close_matches(variable.upper(), names, n=1, cutoff=0.0)
            hint = f"did you mean {nearest[0]}?" if nearest else "there are no settings."
            raise SettingsError(f"{variable} is set in the environment but is not a setting of Candor; {hint}")


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not close
        return False


def _read_secret(file: Path, *, setting: str) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"{setting}: {file} cannot be read ({reason})") from None
    if not text:
        raise SettingsError(f"{setting}: {file} is empty")
    return text


def _sentence(location: tuple[int | str, ...], message: str, value: object) -> str:
    message = message.removeprefix("Value error, ")
    if not location:  # a finding about all settings, already a sentence
        return message
    name = str(location[0])
    shown = repr(value)
    got = "" if name in SECRET or len(shown) > 80 or _MAY_HOLD_SECRET.search(shown) else f"got {shown}; "
    return f"setting {name} ({PREFIX}{name.upper()}): {got}{message[:1].lower()}{message[1:]}"
