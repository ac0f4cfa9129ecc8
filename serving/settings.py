"""Every setting of the server, in one frozen table; nothing else in Candor reads the environment.

A variable CANDOR_X sets the field x. A CANDOR_ variable that names no field is refused, because a misspelled
setting that is silently ignored is found out in production.
"""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from serving.errors import SettingsError

PREFIX = "CANDOR_"

Device = Literal["auto", "cpu", "cuda", "tensorrt"]


class Settings(BaseSettings):
    """The server's settings. Raises SettingsError for an unknown variable, ValidationError for a bad value."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one and prints it.")
    grpc_port: int | None = Field(
        None, ge=0, le=65535, description="Port of the Open Inference Protocol's gRPC service; unset: none."
    )
    store: Path = Field(Path("model_store/models"), description="Folder of the model store.")
    ledger: str = Field("sqlite:///./candor.db", description="Database of predictions and labels; 'off' keeps none.")
    ledger_required: bool = Field(
        True, description="Withhold answers that the ledger cannot take; false: spool them, and join them later."
    )
    spool: Path = Field(Path("candor.spool"), description="File of the spool, one a server process.")
    spool_limit_bytes: int = Field(
        64 * 2**20, ge=2**16, description="Size of the spool, reserved at the start; an answer takes 200 bytes or more."
    )
    data: Path | None = Field(
        None, description="Folder with data sets and pretrained weights, for training and the demo."
    )

    device: Device = Field(
        "auto", description="Where to infer: auto (CUDA if it is there, else CPU), cpu, cuda or tensorrt."
    )
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="Inference threads on the CPU; 0 takes one per available core, for a light model one.",
    )
    spinning: bool = Field(
        False,
        description="Inference threads go on waiting in a loop between batches: faster alone, slower beside others.",
    )
    max_batch: int = Field(16, ge=1, le=256, description="Most images inferred together.")
    poll_s: float = Field(
        0.5, gt=0, le=3600, description="Seconds between looks at the store for a new production version."
    )

    deadline_s: float = Field(
        1.0, gt=0, description="Requests whose predicted wait for an answer is longer are refused with 429."
    )
    refusal_hold_s: float = Field(
        0.5, ge=0, le=30, description="Seconds a 429 is held back, so that retries do not storm."
    )
    refusal_limit: int = Field(1024, ge=0, description="Most 429s held back at once; beyond, the connection is closed.")
    max_body_bytes: int = Field(20 * 2**20, ge=1, description="Largest request body.")
    max_items: int = Field(256, ge=1, le=10_000, description="Most images in one request.")
    max_pixels: int = Field(50_000_000, ge=1, description="Largest image, in pixels after decoding.")
    body_timeout_s: float = Field(10.0, gt=0, description="Seconds a client has to send its body.")

    drain_delay_s: float = Field(0.2, ge=0, description="Seconds of listening on, not ready, after SIGTERM.")
    drain_s: float = Field(25.0, gt=0, description="Seconds that admitted requests have to be answered after SIGTERM.")

    tokens: SecretStr | None = Field(
        None, description="Bearer tokens, `TOKEN scope[,scope]` between semicolons; unset (and no file): all is open."
    )
    tokens_file: Path | None = Field(None, description="File of tokens, a line each, in the same form.")
    tls_certificate: Path | None = Field(None, description="Certificate chain (PEM), to serve HTTPS.")
    tls_key: Path | None = Field(None, description="Private key (PEM) of the certificate.")
    cors_origins: tuple[str, ...] = Field((), description="Origins whose pages may ask, as a JSON list.")
    traces: bool = Field(False, description="OpenTelemetry traces of requests (extra `traces`).")

    monitor: Literal["inside", "apart"] = Field(
        "inside",
        description="Who takes labels and shows reports: the server itself (inside), or `candor monitor` (apart), "
        "while the server only records its answers.",
    )
    retention_days: int | None = Field(
        None, ge=1, le=36_500, description="Days that answers and their labels are kept; unset: for good."
    )
    drift_average_run_length: float = Field(
        1e5, gt=1, description="Labels between false drift alarms, on average, at least."
    )
    drift_tolerance: float = Field(0.01, ge=0, lt=0.5, description="Miscalibration that is not worth an alarm.")
    audit_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of answers drawn at random to be labeled whatever the outcome; the drift watch then hears "
        "their labels alone.",
    )
    exemplars: bool = Field(
        False, description="Request durations in OpenMetrics name a prediction_id each (what Grafana calls exemplars)."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe line that is logged."
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_variables(cls, values: Any) -> Any:
        refuse_unknown(os.environ, known=cls.model_fields)
        return values

    @property
    def tokens_text(self) -> str | None:
        """The tokens in plain text."""
        return None if self.tokens is None else self.tokens.get_secret_value()

    @property
    def ledger_url(self) -> str | None:
        """The ledger's database URL, or None where it is switched off."""
        return None if self.ledger.strip().lower() in ("", "off", "none") else self.ledger


def load_settings(**overrides: Any) -> Settings:
    """Settings from `overrides` (those not None), else the environment; raises SettingsError naming bad values."""
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise SettingsError(
            "; ".join(_sentence(item["loc"], item["msg"], item["input"]) for item in error.errors())
        ) from None


def refuse_unknown(environment: Iterable[str], *, known: Iterable[str]) -> None:
    """Raise SettingsError for the first CANDOR_ variable that names no known setting; says which one is nearest."""
    names = {f"{PREFIX}{name.upper()}" for name in known}
    for variable in sorted(environment):
        if variable.upper().startswith(PREFIX) and variable.upper() not in names:
            nearest = difflib.get_close_matches(variable.upper(), names, n=1, cutoff=0.0)
            hint = f"did you mean {nearest[0]}?" if nearest else "there are no settings."
            raise SettingsError(f"{variable} is set in the environment but is no setting of Candor; {hint}")


def _sentence(location: tuple[int | str, ...], message: str, value: object) -> str:
    if not location:  # a finding about all settings, already a sentence
        return message.removeprefix("Value error, ")
    name = ".".join(str(part) for part in location)
    return f"setting {name} ({PREFIX}{name.upper()}): got {value!r}; {message[:1].lower()}{message[1:]}"
