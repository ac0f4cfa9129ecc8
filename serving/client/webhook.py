"""A webhook: one POST of JSON to an address that is a secret, because such addresses hold their
token.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

TIMEOUT_S = 10.0


class WebhookFailed(Exception):
    """A message that the webhook did not take. Names its host only."""


class Webhook:
    """Posts messages. It follows no redirect, and waits at most `TIMEOUT_S` for each step."""

    def __init__(self, url: str, *, transport: httpx.BaseTransport | None = None) -> None:
        self._url, self._transport = url, transport

    def send(self, message: Mapping[str, Any]) -> None:
        """Post one message. Raises WebhookFailed unless the answer is 2xx."""
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
