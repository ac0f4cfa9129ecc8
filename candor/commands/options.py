"""What several verbs share: options, and where settings, caches and ledgers are found."""

from pathlib import Path
from typing import Annotated, Any

import typer

DEFAULT_URL = "http://127.0.0.1:8080"

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
StoreOption = Annotated[Path | None, typer.Option(help="Folder of the model store (default: model_store/models).")]
LedgerOption = Annotated[str | None, typer.Option(help="Ledger URL (default: sqlite:///./candor.db).")]
UrlOption = Annotated[str, typer.Option(help="Address of a running `candor serve`.")]


def settings(**overrides: Any) -> Any:
    """The settings, `overrides` (those not None) first, then the environment. Raises SettingsError."""
    from serving.settings import load_settings

    return load_settings(**overrides)


def cache_folder() -> Path:
    """Where downloads and frozen features are kept between runs."""
    return Path.home() / ".cache" / "candor"


def ledger_url(override: str | None) -> str:
    """The ledger's database URL; a usage error where the ledger is off."""
    url: str | None = settings(ledger=override).ledger_url
    if url is None:
        raise typer.BadParameter("the ledger is off; give --ledger or set CANDOR_LEDGER")
    return url
