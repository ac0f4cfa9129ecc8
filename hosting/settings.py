"""All settings of a process, read once; only training reads other variables (torchrun's).

The variable CANDOR_X sets the field x of the table (`hosting.setting_table`). A CANDOR_ variable
without a field is refused, so that a misspelled setting is not ignored silently; only what
Kubernetes injects (`hosting.service_links`) is passed over. No sentence repeats a value that may
hold a password or a token.
"""

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from hosting.errors import SettingsError
from hosting.service_links import PREFIX, EnvironmentWithoutLinks, service_links
from hosting.setting_table import SettingTable
from model_store.addresses import shown_address
from model_store.errors import TagsInvalid
from monitoring.drift.tag_settings import TagSettings
from monitoring.http.body_budget import DEFAULT_BYTES

if TYPE_CHECKING:
    from model_store.store.store import Store

_ALIKE: Final = 0.6  # how alike a misspelled name and the one that is meant must be, from 0 to 1
_ALL_SETTINGS: Final = "unset it, and `candor config show` lists all there are."
SECRET: Final = frozenset({"ledger", "tokens"})  # their values are never repeated
_MAY_HOLD_SECRET: Final = re.compile(r"://|@|passw|secret|token", re.IGNORECASE)
_MASKED: Final = "(set, not shown)"
# Of the largest body in the memory of all: three copies at its peak, and room for small ones.
BODY_SHARES: Final = 4
DRAIN_S: Final = 25.0  # Kubernetes kills a pod 30 s after it asks it to end
SHORTEST_KEY: Final = 16  # bytes of the secret that hashes patients


class Settings(SettingTable):
    """The settings. Raises SettingsError for an unknown variable, ValidationError for a value."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", allow_inf_nan=False
    )

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
                "CANDOR_LEDGER and CANDOR_LEDGER_FILE are both set; unset one of them, or give the "
                "first no value where an image sets it"
            )
        return values | {"ledger": _read_secret(Path(file), setting="CANDOR_LEDGER_FILE")}

    @model_validator(mode="after")
    def _check_image_link(self) -> "Settings":
        if self.image_link is not None and not _is_image_link(self.image_link):
            raise ValueError(
                "CANDOR_IMAGE_LINK must be an address that begins with http:// or https://, with "
                "{request_id} or {prediction_id} behind its host and no other brackets."
            )
        return self

    @model_validator(mode="after")
    def _check_signing(self) -> "Settings":
        if self.require_signature is not None and self.recalibrate_on_alarm == "promote":
            raise ValueError(
                "CANDOR_RECALIBRATE_ON_ALARM=promote cannot be kept with "
                "CANDOR_REQUIRE_SIGNATURE: no process holds "
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
        """Memory of all request bodies together, and of what is made of them."""
        return max(BODY_SHARES * self.max_body_bytes, DEFAULT_BYTES)

    @property
    def decode_memory_bytes(self) -> int:
        """Memory of all decoding processes together."""
        return self.memory_bytes // 3

    @property
    def inference_memory_bytes(self) -> int:
        """Memory of all inference on the CPU together, beside the weights."""
        return self.memory_bytes - self.decode_memory_bytes

    @property
    def drain_s(self) -> float:
        """Seconds in which what was admitted before a stop must be answered."""
        return max(DRAIN_S, 2 * (self.deadline_s or 0))

    @property
    def scan_s(self) -> float:
        """Seconds between scans of the store: each costs a store at an address one request."""
        return 5.0 if "://" in self.store else 0.5

    @property
    def patient_key(self) -> bytes | None:
        """The secret that hashes patients; None if the ledger holds it. Raises SettingsError."""
        if self.patient_key_file is None:
            return None
        key = _read_secret(self.patient_key_file, setting="CANDOR_PATIENT_KEY_FILE").encode()
        if len(key) < SHORTEST_KEY:
            raise SettingsError(
                f"CANDOR_PATIENT_KEY_FILE: {self.patient_key_file} holds {len(key)} bytes; a key "
                f"has at least {SHORTEST_KEY}, such as those of `openssl rand -hex 32`"
            )
        return key

    @property
    def opened_store(self) -> "Store":
        """The model store. Connects to nothing."""
        from model_store.bundle.signature import read_public_key
        from model_store.store.store import open_store

        key = None if self.require_signature is None else read_public_key(self.require_signature)
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return open_store(self.store, cache=caches / "candor" / "store", key=key)

    @property
    def tokens_text(self) -> str | None:
        return None if self.tokens is None else self.tokens.get_secret_value()

    @property
    def ledger_url(self) -> str | None:
        """The database URL of the ledger; None if it is off."""
        return None if self.ledger.strip().lower() in ("", "off", "none") else self.ledger


def load_settings(**overrides: Any) -> Settings:
    """Settings from `overrides` that are not None, else the environment. Raises SettingsError."""
    given = {name: value for name, value in overrides.items() if value is not None}
    if "ledger" in given:
        given.setdefault("ledger_file", None)
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError(
            "; ".join(_sentence(item["loc"], item["msg"], item["input"]) for item in error.errors())
        ) from None


@dataclass(frozen=True)
class ShownSetting:
    """One setting. `source` is `default`, `environment`, or the file that holds the value."""

    variable: str
    value: str
    source: str
    meaning: str


def shown(settings: Settings) -> Iterator[ShownSetting]:
    """Yield every setting in the table's order; the environment must be unchanged."""
    for name in Settings.model_fields:
        source = "environment" if name in settings.model_fields_set else "default"
        if name == "ledger" and settings.ledger_file is not None:
            source = str(settings.ledger_file)
        value = _masked(getattr(settings, name))
        if name == "ledger" and settings.ledger_url is not None and "://" not in value:
            value = _MASKED  # no address, so nothing says where in it a password stands
        yield ShownSetting(f"{PREFIX}{name.upper()}", value, source, meaning_of(name))


def meaning_of(name: str) -> str:
    return " ".join((Settings.model_fields[name].description or "").split())


def _masked(value: Any) -> str:
    """A value as text: nothing of a secret, and of an address neither user, password nor query."""
    if isinstance(value, SecretStr):
        return _MASKED
    if value is None:
        return "(unset)"
    if isinstance(value, tuple):
        return ", ".join(shown_address(str(each)) for each in value)
    return shown_address(str(value))


def ignored_variables() -> list[str]:
    """The variables of the environment that Kubernetes injected, and that are not read."""
    return service_links(os.environ)


def refuse_unknown(environment: Iterable[str], *, known: Iterable[str]) -> None:
    """Raise SettingsError for the first CANDOR_ variable that is not a setting."""
    names = [name.upper() for name in known]
    for variable in sorted(environment):
        name = variable.upper().removeprefix(PREFIX)
        if variable.upper().startswith(PREFIX) and name not in names:
            nearest = difflib.get_close_matches(name, names, n=1, cutoff=_ALIKE)
            hint = f"did you mean {PREFIX}{nearest[0]}?" if nearest else _ALL_SETTINGS
            raise SettingsError(
                f"{variable} is set in the environment but is not a setting of Candor; {hint}"
            )


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not close
        return False


def _is_image_link(template: str) -> bool:
    ids = r"\{(?:request_id|prediction_id)\}"
    rest, count = re.subn(ids, "", template)
    has_fixed_host = not re.search("[{}]", urlsplit(template).netloc) and template.isprintable()
    return bool(count and has_fixed_host and _is_web_address(rest) and not set("{} ") & set(rest))


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
    got = (
        ""
        if name in SECRET or len(shown) > 80 or _MAY_HOLD_SECRET.search(shown)
        else f"got {shown}; "
    )
    return f"setting {name} ({PREFIX}{name.upper()}): {got}{message[:1].lower()}{message[1:]}"
