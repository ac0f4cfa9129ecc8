"""What a server can be set to, what it counts, and how it refuses: from its own code."""

import functools
import inspect
import typing
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from prometheus_client import CollectorRegistry, Metric

from console.monitor import open_monitor
from docs.generators.markdown import plain, table
from hosting.error_table import ERRORS, INTERNAL, ROUTING_CODES, SENTENCES
from hosting.listener import register_build_info
from hosting.settings import PREFIX, Settings, meaning_of
from serving.inference.metrics import ServingMetrics


def settings() -> str:
    """Every environment variable of `hosting/setting_table.py`."""
    rows = (
        (
            f"`{PREFIX}{name.upper()}`",
            f"`{field.default}`",
            plain(f"{meaning_of(name)}{_choices(field.annotation)}"),
        )
        for name, field in Settings.model_fields.items()
    )
    return table(("variable", "default", "meaning"), rows)


def metrics() -> str:
    """Every metric that a server or a monitor exports."""
    rows = [
        (f"`{_exported(family)}`", family.type, plain(family.documentation))
        for family in families()
    ]
    return table(("metric", "type", "meaning"), sorted(rows))


def errors() -> str:
    """Every status and code that an answer can carry, and what it means."""
    rows = [
        *((str(status), f"`{code}`", _sentence(error)) for error, (status, code) in ERRORS.items()),
        *(
            (str(status), f"`{code}`", HTTPStatus(status).description)
            for status, code in ROUTING_CODES.items()
        ),
        (str(INTERNAL.status), f"`{INTERNAL.code}`", INTERNAL.detail),
    ]
    return table(("status", "code", "meaning"), sorted(rows))


@functools.cache
def families() -> tuple[Metric, ...]:
    """All metric families of a server with its monitor inside, as they are exported."""
    registry = CollectorRegistry()
    ServingMetrics(registry)
    register_build_info(registry)
    with TemporaryDirectory() as folder:
        settings = Settings(ledger=f"sqlite:///{folder}/ledger.db", spool=Path(folder) / "spool")
        with open_monitor(settings, registry):
            return tuple(registry.collect())


def _sentence(error: type[Exception]) -> str:
    return SENTENCES.get(error) or str(inspect.getdoc(error)).splitlines()[0]


def _exported(family: Metric) -> str:
    return family.name + ("_total" if family.type == "counter" else "")


def _choices(annotation: object) -> str:
    if typing.get_origin(annotation) is not Literal:
        return ""
    return " One of " + ", ".join(f"`{choice}`" for choice in typing.get_args(annotation)) + "."
