"""The settings of `candor serve --engine ray` on their way to replicas on other machines.

Everything but secrets travels with the deployment, so that all replicas have the settings of the
command. Ray keeps what travels in plain text; so each node has the tokens, and a ledger's password,
in its own environment or files. A replica whose node has another ledger, or no tokens where there
must be some, refuses to start.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from sqlalchemy.engine import make_url

from hosting.errors import SettingsError
from hosting.settings import Settings

# Read on each node: secrets, and the files that hold them.
LOCAL: Final = frozenset({"tokens", "tokens_file", "ledger", "ledger_file", "patient_key_file"})


@dataclass(frozen=True)
class PlacedSettings:
    """What a replica is told.

    `shared`: the settings without secrets, their paths absolute. `ledger`: the ledger's URL without
    password, None if there is none. `ledger_is_secret`: whether the URL has more, so that the node
    must know it. `has_tokens`: whether requests need a token.
    """

    shared: dict[str, Any]
    ledger: str | None
    ledger_is_secret: bool
    has_tokens: bool

    @classmethod
    def of(cls, settings: Settings) -> Self:
        values = settings.model_dump(exclude=set(LOCAL))
        shared = {
            name: value.absolute() if isinstance(value, Path) else value
            for name, value in values.items()
        }
        if "://" not in settings.store:
            shared["store"] = str(Path(settings.store).absolute())
        # As Ray reserves; a replica would take all of the machine.
        cores = math.ceil(settings.ray_replica_cpus)
        shared |= {
            "threads": settings.threads or cores,
            "decode_processes": settings.decode_processes or cores,
        }
        url = settings.ledger_url
        return cls(
            shared,
            ledger=None if url is None else without_secret(url),
            ledger_is_secret=url is not None and without_secret(url) != url,
            has_tokens=settings.tokens is not None or settings.tokens_file is not None,
        )

    def here(self) -> Settings:
        """The settings on this node. Raises SettingsError unless its secrets are the server's."""
        values = dict(self.shared)
        if not self.ledger_is_secret:
            values |= {"ledger": self.ledger or "off", "ledger_file": None}
        settings = Settings(**values)
        if self.ledger_is_secret:
            ledger = None if settings.ledger_url is None else without_secret(settings.ledger_url)
            if ledger != self.ledger:
                raise SettingsError(
                    f"this node has the ledger {ledger}, and the server {self.ledger}; set "
                    "CANDOR_LEDGER or CANDOR_LEDGER_FILE on every node before `ray start`."
                )
        if self.has_tokens and settings.tokens is None and settings.tokens_file is None:
            raise SettingsError(
                "this node has no tokens, and the server has; set CANDOR_TOKENS or "
                "CANDOR_TOKENS_FILE on every node before `ray start`."
            )
        return settings


def without_secret(url: str) -> str:
    """The URL of a ledger without its password and its query, which may hold one.

    >>> without_secret("postgresql+psycopg://candor:word@db/ledger?sslpassword=word")
    'postgresql+psycopg://candor@db/ledger'
    """
    return make_url(url).set(query={})._replace(password=None).render_as_string()
