"""`candor report --every`: regular reports into a folder and to a webhook."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from candor.terminal.console import note, stdout

if TYPE_CHECKING:
    from httpx import BaseTransport

    from monitoring.ledger.database import Ledger
    from serving.pages.report_document import Period

LOOK_S = 60.0  # between looks for what is due, and for what a webhook refused
HTML_LIMIT = 2_000_000  # characters of a page that a webhook gets
TIMEOUT_S = 10.0  # for each step of a message to a webhook


class WebhookFailed(Exception):
    """A message that the webhook did not take. Names its host only."""


class Webhook:
    """Posts JSON to an address that is a secret, since it holds a token. No redirects."""

    def __init__(self, url: str, *, transport: "BaseTransport | None" = None) -> None:
        self._url, self._transport = url, transport

    def send(self, message: Mapping[str, Any]) -> None:
        """Post one message. Raises WebhookFailed unless the answer is 2xx."""
        import httpx

        host = urlsplit(self._url).hostname
        try:
            with httpx.Client(
                timeout=TIMEOUT_S, transport=self._transport, trust_env=False
            ) as client:
                answer = client.post(self._url, json=dict(message))
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise WebhookFailed(
                f"the webhook on {host} cannot be reached ({type(error).__name__})"
            ) from None
        if not answer.is_success:
            raise WebhookFailed(f"the webhook on {host} answered {answer.status_code}")


def keep_reporting(
    ledger: "Ledger",
    folder: Path,
    every: "Period",
    *,
    model: str | None,
    webhook: Webhook | None,
    once: bool,
) -> bool:
    """Make what is due and, unless `once`, go on; return whether the last round succeeded."""
    from sqlalchemy.exc import SQLAlchemyError

    # it logs addresses, and that of a webhook is a secret
    logging.getLogger("httpx").setLevel(logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            good = report_once(ledger, folder, every, model=model, webhook=webhook)
        except SQLAlchemyError as error:
            note(f"the ledger could not be read: {type(error).__name__}")
            good = False
        if once:
            return good
        time.sleep(LOOK_S)


def report_once(
    ledger: "Ledger", folder: Path, every: "Period", *, model: str | None, webhook: Webhook | None
) -> bool:
    """Make the reports that are due and send the unsent; return whether all were sent."""
    from monitoring.ledger import versions
    from serving.pages import report_document as schedule

    with ledger.read() as connection:
        models = versions.models(connection) if model is None else [model]
    good = True
    for name in models:
        due = schedule.find_due(folder, name, every, today=schedule.today_of(ledger))
        if due is not None:
            schedule.write(schedule.make(ledger, due))
            stdout.print(f"report: {due.file}")
        unsent = schedule.find_unsent(folder, name, every) if webhook is not None else None
        if webhook is None or unsent is None:
            continue
        try:
            webhook.send(schedule.make(ledger, unsent).message(html_limit=HTML_LIMIT))
            schedule.mark_sent(unsent.file)
        except WebhookFailed as error:
            note(f"{unsent.file.name} was not sent: {error}")
            good = False
    return good
