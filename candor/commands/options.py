"""Options that several verbs share, and where settings, the cache and the ledger are found."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candor.predictions.image_files import FileIdRule

if TYPE_CHECKING:
    from calibration.findings.examination import Rule
    from model_store.store.store import Store
    from monitoring.ledger.database import Ledger
    from serving.settings import Settings


def option(text: str, *names: str, **details: Any) -> Any:
    """Return an option of a command; `names` where they are not the parameter's own."""
    return typer.Option(*names, help=text, **details)


def argument(text: str, **details: Any) -> Any:
    """Return an argument of a command."""
    return typer.Argument(help=text, **details)


def web_address(url: str | None) -> str | None:
    """Return the address of a server; a usage error if it does not say http:// or https://."""
    if url is not None and not url.startswith(("http://", "https://")):
        raise typer.BadParameter(
            f"got {url!r}; write it with http:// or https://, as in http://127.0.0.1:8080"
        )
    return url


def version_number(text: str) -> int:
    """Return a version as `candor models` lists it; a usage error for other spellings."""
    if not re.fullmatch("[1-9][0-9]{0,8}", text, re.ASCII):
        raise typer.BadParameter(
            f"{text[:80]!r} is not a version: write it as `candor models` lists it, such as 2"
        )
    return int(text)


def threshold_rule(text: str) -> "Rule":
    """Return how a finding's threshold is chosen, kind and value; a usage error for no rule.

    >>> threshold_rule("sensitivity=0.9"), threshold_rule("half")
    (('sensitivity', 0.9), ('half', None))
    """
    from calibration.findings.thresholds import check_rule

    kind, _, number = text.partition("=")
    try:
        value = float(number) if number else None
        return check_rule(kind, value), value
    except ValueError as error:
        raise typer.BadParameter(f"got {text!r}: {error}", param_hint="--threshold") from error


def said(text: str | None) -> str | None:
    """Return why something is done; a usage error for blank text."""
    if text is not None and not text.strip():
        raise typer.BadParameter("it says nothing; say why, or leave the option out")
    return text


def _show_all(context: typer.Context, asked: bool) -> None:
    """Print the help with the options that are hidden, and end."""
    if asked:
        for each in context.command.params:
            each.hidden = False  # type: ignore[attr-defined]  # arguments have it, too
        print(context.get_help())  # noqa: T201
        raise typer.Exit


HelpAllOption = Annotated[
    bool, option("Show the rare options, too.", "--help-all", is_eager=True, callback=_show_all)
]


def named(context: typer.Context, model: str | None) -> str | None:
    """Keep the model that a verb is about for the hint of what comes next."""
    context.find_root().params["model"] = model
    return model


ModelArgument = Annotated[str, argument("The model.", callback=named)]
DEFAULT_URL = "http://127.0.0.1:8080"
JsonOption = Annotated[bool, option("Print JSON instead of text.", "--json")]
StoreOption = Annotated[
    str | None,
    option(
        "Model store: a folder or an address such as s3://bucket/models (default: "
        "model_store/models)."
    ),
]
LedgerOption = Annotated[str | None, option("Ledger URL (default: sqlite:///./candor.db).")]
PromoteOption = Annotated[
    bool, option("Put the new version into production immediately.", "--promote")
]
HostOption = Annotated[str | None, option("Address to listen on (default: 127.0.0.1).")]
UrlOption = Annotated[
    str, option("Address of a running `candor serve` or `candor monitor`.", callback=web_address)
]
TokenOption = Annotated[
    Path | None, option("File with the bearer token, if the server asks for one.")
]
FileIdOption = Annotated[
    FileIdRule,
    option("What of a path is the request id: the file's name, or all of it.", "--request-id"),
]
OnAlarmOption = Annotated[
    str | None,
    option(
        "What to do by itself about a drift alarm (default: off).",
        "--recalibrate-on-alarm",
        metavar="off|propose|publish|promote",
    ),
]
PortOption = Annotated[int | None, option("Port to listen on; 0 takes a free one (default: 8080).")]


def settings(**overrides: Any) -> "Settings":
    """Return the settings: `overrides` that are not None, else the environment.

    Raises SettingsError.
    """
    from serving.settings import load_settings

    return load_settings(**overrides)


def read_token(file: Path | None) -> str | None:
    """Return the token in a file; arguments are visible to others. Raises TokenInvalid."""
    from serving.client import usable_token

    return (
        None if file is None else usable_token(file.read_text(encoding="utf-8", errors="replace"))
    )


def cache_folder() -> Path:
    """Return the folder that keeps downloads and frozen features between runs."""
    return Path.home() / ".cache" / "candor"


def open_store(override: str | None) -> "Store":
    """Return the store, which must exist. Raises NotInStore."""
    store = settings(store=override).opened_store
    require_store(store)
    return store


def require_store(store: "Store") -> None:
    """Raise NotInStore if there is no store in this place."""
    from model_store.errors import NotInStore

    if not store.storage.exists():
        raise NotInStore(
            f"there is no store {store.storage.address}: `candor export` makes it, and --store "
            "names another"
        )


def open_ledger(override: str | None, *, reading: bool = False) -> "Ledger":
    """Return the ledger, which must exist; a usage error if it is switched off. Raises LedgerError.

    With `reading` it may be one that cannot be written.
    """
    from monitoring.ledger.database import Ledger

    url = ledger_url(override)
    return Ledger.to_read(url) if reading else Ledger(url, create=False)


def ledger_url(override: str | None) -> str:
    """Return where the ledger is; a usage error if it is switched off."""
    url = settings(ledger=override).ledger_url
    if url is None:
        raise typer.BadParameter(
            "the ledger is switched off; give --ledger URL or set CANDOR_LEDGER"
        )
    return url
