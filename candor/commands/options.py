"""What several verbs share: kinds of parameters, and where settings, cache and ledger are."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    Literal,
    NamedTuple,
    TypeAlias,
    TypeVar,
    Unpack,
    get_args,
    get_origin,
)

from calibration.wording import parameter
from model_store.addresses import shown_address
from training.load_options import LoadOption, options_of

if TYPE_CHECKING:
    from calibration.findings.examination import Rule
    from hosting.settings import Settings
    from model_store.store.store import Store
    from monitoring.ledger.database import Ledger

Function = TypeVar("Function", bound=Callable[..., object])
FilePath: TypeAlias = str | PathLike[str]
# A folder, or an address such as s3://bucket/models, whose // a path would lose
Place: TypeAlias = Annotated[FilePath, str]
OnAlarm: TypeAlias = Literal["off", "propose", "publish", "promote"]
# In Annotated: `--help` leaves it out and `--help-rare` does not; the command has no such option
RARE: Final = "rare"
PYTHON: Final = "python"
DEFAULT_URL: Final = "http://127.0.0.1:8080"
# The help of parameters that mean the same everywhere
SHARED: Final[Mapping[str, str]] = {
    "host": "Address to listen on (default: 127.0.0.1).",
    "json": "Print JSON instead of text.",
    "ledger": "Ledger URL (default: sqlite:///./candor.db).",
    "model": "The model.",
    "port": "Port to listen on; 0 takes a free one (default: 8080).",
    "promote": "Put the new version into production immediately.",
    "recalibrate_on_alarm": "What to do by itself about a drift alarm (default: off).",
    "store": "Model store: a folder or an address such as s3://bucket/models (default: "
    "model_store/models).",
    "token_file": "File with the bearer token, if the server asks for one.",
    "url": "Address of a running `candor serve` or `candor monitor`.",
    "version": "The version.",
    "why": "Why; kept in the history.",
}


class Within(NamedTuple):
    """In Annotated: the least and the largest value, None for no limit."""

    least: float | None
    most: float | None


class WrongUse(ValueError):
    """Parameters that do not go together, or a value that one does not take."""


def unused(because: str, **given: object) -> None:
    """Raise WrongUse for options that were given and would do nothing."""
    empty = (None, False, ())
    names = [parameter(name) for name, each in given.items() if not any(each is x for x in empty)]
    if names:
        raise WrongUse(f"{', '.join(names)}: {because}")


def signature_of(function: Callable[..., object]) -> inspect.Signature:
    """The signature of a verb, with a parameter for each option that `**options` declares."""
    signature = inspect.signature(function)
    own = [each for each in signature.parameters.values() if not _declared_by(each)]
    more = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=option.default,
            annotation=Annotated[kind, *_metadata(option)],
        )
        for each in signature.parameters.values()
        for declared in _declared_by(each)
        for name, (kind, option) in options_of(declared).items()
    ]
    return signature.replace(parameters=[*own, *more])


def signed(function: Function, signature: inspect.Signature) -> Function:
    """The function, which says that this is its signature."""
    vars(function)["__signature__"] = signature
    return function


def option_texts(function: Callable[..., object]) -> Mapping[str, str]:
    """The help of each option that `**options` declares."""
    return {
        name: option.text
        for each in inspect.signature(inspect.unwrap(function)).parameters.values()
        for declared in _declared_by(each)
        for name, (_, option) in options_of(declared).items()
    }


def _declared_by(parameter: inspect.Parameter) -> tuple[type, ...]:
    """What `**options: Unpack[A]` declares by name."""
    return get_args(parameter.annotation) if get_origin(parameter.annotation) is Unpack else ()


def _metadata(option: LoadOption) -> Iterator[object]:
    """What the shell reads of an option."""
    yield option
    if option.within is not None:
        yield Within(*option.within)
    if option.shown is not None:
        yield option.shown
    if option.rare:
        yield RARE
    if option.read is not None:
        yield option.read


def web_address(url: str) -> str:
    """Return the address of a server. Raises WrongUse if it does not say http:// or https://, or
    has a query.
    """
    if not url.startswith(("http://", "https://")) or "?" in url:
        raise WrongUse(
            f"got the address {shown_address(url)!r}; write it with http:// or https:// and "
            f"without a query, as in {DEFAULT_URL}"
        )
    return url


def version_number(text: str) -> int:
    """Return a version as `candor models` lists it. Raises WrongUse for other spellings."""
    if not re.fullmatch("[1-9][0-9]{0,8}", text, re.ASCII):
        raise WrongUse(
            f"{text[:80]!r} is not a version: write it as `candor models` lists it, such as 2"
        )
    return int(text)


Version: TypeAlias = Annotated[int, version_number]


def threshold_rule(text: str) -> "Rule":
    """Return how a finding's threshold is chosen, kind and value. Raises WrongUse for no rule.

    >>> threshold_rule("sensitivity=0.9"), threshold_rule("half")
    (('sensitivity', 0.9), ('half', None))
    """
    from calibration.findings.thresholds import check_rule

    kind, _, number = text.partition("=")
    try:
        value = float(number) if number else None
        return check_rule(kind, value), value
    except ValueError as error:
        raise WrongUse(f"{parameter('threshold')}: got {text!r}: {error}") from error


def said(text: str | None) -> str | None:
    """Return why something is done. Raises WrongUse for blank text."""
    if text is not None and not text.strip():
        raise WrongUse("it says nothing; say why, or leave it out")
    return text


def settings(**overrides: Any) -> "Settings":
    """Return the settings: `overrides` that are not None, else the environment.

    Raises SettingsError.
    """
    from hosting.settings import load_settings

    return load_settings(**overrides)


def read_token(file: FilePath | None) -> str | None:
    """Return the token in a file; arguments are visible to others. Raises TokenInvalid."""
    from serving.client import usable_token

    if file is None:
        return None
    return usable_token(Path(file).read_text(encoding="utf-8", errors="replace"))


def cache_folder() -> Path:
    """Return the folder that keeps frozen features and facts about files between runs."""
    return Path.home() / ".cache" / "candor"


def open_store(override: FilePath | None) -> "Store":
    """Return the store, which must exist. Raises NotInStore."""
    store = any_store(override)
    require_store(store)
    return store


def any_store(override: FilePath | None) -> "Store":
    """Return the store, which publishing makes if it is not there."""
    return settings(store=override).opened_store


def require_store(store: "Store") -> None:
    """Raise NotInStore if there is no store in this place."""
    from model_store.errors import NotInStore

    if not store.storage.exists():
        raise NotInStore(
            f"there is no store {store.storage.address}: `candor export` makes it, and "
            f"{parameter('store')} names another"
        )


def require_model(store: "Store", model: str) -> None:
    """Raise NotInStore if there is no such model; InvalidName."""
    from model_store.errors import NotInStore

    store.model(model)
    if model not in store.models():
        known = ", ".join(store.models()) or "none"
        raise NotInStore(f"there is no model '{model}' in {store.storage.address}; it has {known}")


def open_ledger(override: str | None, *, reading: bool = False) -> "Ledger":
    """Return the ledger, which must exist. Raises LedgerError; WrongUse if it is switched off.

    With `reading` it may be one that cannot be written.
    """
    from monitoring.ledger.database import Ledger

    url = ledger_url(override)
    return Ledger.to_read(url) if reading else Ledger(url, create=False)


def ledger_url(override: str | None) -> str:
    """Return where the ledger is. Raises WrongUse if it is switched off."""
    url = settings(ledger=override).ledger_url
    if url is None:
        raise WrongUse(
            f"the ledger is switched off; give {parameter('ledger', 'URL')} or set CANDOR_LEDGER"
        )
    return url
