"""Whether the ledger agrees that a bundle is the one that gave the answers of its version."""

from typing import TYPE_CHECKING

from candor.commands.options import settings
from candor.terminal.console import note

if TYPE_CHECKING:
    from model_store.bundle.bundle import Bundle


def require_ledger_agrees(bundle: "Bundle", ledger: str | None) -> list[str]:
    """Raise BundleReplaced if the ledger knows the version from another bundle.

    Without a ledger there is nothing to compare. That one cannot be asked now is only said, by the
    sentence returned: a rollback must not wait for it, and a server compares again.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from monitoring.errors import LedgerError
    from monitoring.ledger.database import Ledger
    from monitoring.ledger.versions import require_same_bundle

    known = settings(ledger=ledger)
    url = known.ledger_url
    if url is None:
        return []
    try:
        with Ledger.to_read(url) as opened, opened.read() as connection:
            require_same_bundle(connection, bundle.card, bundle.digest)
    except (LedgerError, SQLAlchemyError) as error:
        if "ledger" in known.model_fields_set:  # else it is the default, where none need be
            reason = str(error).splitlines()[0].rstrip(".")
            return [f"The ledger could not be asked whether it knows this bundle: {reason}."]
    return []


def ledger_problem(bundle: "Bundle", ledger: str | None) -> str | None:
    """Return why the ledger contradicts a bundle; None if it does not."""
    from monitoring.errors import BundleReplaced

    try:
        for sentence in require_ledger_agrees(bundle, ledger):
            note(sentence)
    except BundleReplaced as error:
        return str(error)
    return None
