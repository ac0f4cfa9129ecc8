"""Options that several verbs share, and where settings, the cache and the ledger are found."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from serving.settings import Settings

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
StoreOption = Annotated[Path | None, typer.Option(help="Folder of the model store (default: model_store/models).")]
LedgerOption = Annotated[str | None, typer.Option(help="Ledger URL (default: sqlite:///./candor.db).")]
HostOption = Annotated[str | None, typer.Option(help="Address to listen on (default: 127.0.0.1).")]
PortOption = Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one (default: 8080).")]


def settings(
    *, host: str | None = None, port: int | None = None, store: Path | None = None, ledger: str | None = None
) -> "Settings":
    """Return the settings: these values if they are not None, else the environment. Raises SettingsError."""
    from serving.settings import load_settings

    return load_settings(host=host, port=port, store=store, ledger=ledger)


def cache_folder() -> Path:
    """Return the folder that keeps downloads and frozen features between runs."""
    return Path.home() / ".cache" / "candor"


def ledger_url(override: str | None) -> str:
    """Return the ledger's database URL; a usage error if the ledger is switched off."""
    url = settings(ledger=override).ledger_url
    if url is None:
        raise typer.BadParameter("the ledger is switched off; give --ledger URL or set CANDOR_LEDGER")
    return url
