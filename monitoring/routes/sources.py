"""Where labels come from: GET and POST /models/{model}/report/sources."""

from functools import partial
from typing import Annotated

from anyio import to_thread
from msgspec import Meta, Struct
from starlette.requests import Request

from monitoring.drift.source_change import SourcesChanged, change_sources
from monitoring.errors import SourcesInvalid
from monitoring.feedback.discordance import OtherLabels, read_other_labels
from monitoring.http.endpoint import read_actor
from monitoring.http.json_body import JsonReader
from monitoring.http.query import read_query
from monitoring.ledger.database import Ledger
from monitoring.ledger.versions import choose
from monitoring.ledger.watched_version import read_policies
from monitoring.routes.queries import OfVersion
from monitoring.routes.reports import Production
from monitoring.routes.request import BodyReader
from monitoring.sources import LabelPolicy, check_policies


class PoliciesToSet(Struct, frozen=True, forbid_unknown_fields=True):
    """What the labels of some sources count as from now on; other sources stay as they are."""

    policies: Annotated[
        dict[str, LabelPolicy],
        Meta(
            description="by source: truth, proxy (compared with truths, never counted) or ignore",
            examples=[{"report": "proxy", "test": "ignore"}],
        ),
    ]


class LabelSources(Struct, frozen=True):
    """Where the labels of a version come from, and how far they agree.

    `policies`: of the model, by source; others are truth. `labels`: those that are no truth,
    compared with those that are.
    """

    model: str
    version: int
    policies: dict[str, LabelPolicy]
    labels: OtherLabels


class ChangedPolicies(Struct, frozen=True):
    """The policies of a model after a change, and what that did to labels that had arrived."""

    model: str
    policies: dict[str, LabelPolicy]
    changed: SourcesChanged


_POLICIES = JsonReader(PoliciesToSet, SourcesInvalid)


class SourceRoutes:
    """The handlers. `production`: the version that a request without one is about."""

    def __init__(self, ledger: Ledger, bodies: BodyReader, production: Production) -> None:
        self._ledger, self._bodies = ledger, bodies
        self._production = production

    async def read(self, request: Request) -> LabelSources:
        asked = read_query(request.query_params, OfVersion)
        return await to_thread.run_sync(self._read, request.path_params["model"], asked)

    async def change(self, request: Request) -> ChangedPolicies:
        model = request.path_params["model"]
        async with self._bodies.parsed(request, _POLICIES.read) as asked:
            policies, actor = check_policies(asked.policies), read_actor(request)
            change = partial(change_sources, self._ledger, model, policies, actor=actor)
            changed = await to_thread.run_sync(change)
        return ChangedPolicies(model, await to_thread.run_sync(self._policies, model), changed)

    def _read(self, model: str, asked: OfVersion) -> LabelSources:
        with self._ledger.read() as connection:
            version = asked.version or self._production(model)
            row = choose(connection, model, version, asked.finding)
            number, class_count = row.watched_version_id, len(row.classes)
            return LabelSources(
                model,
                row.version,
                read_policies(connection, [model])[model].named,
                read_other_labels(connection, number, class_count=class_count),
            )

    def _policies(self, model: str) -> dict[str, LabelPolicy]:
        with self._ledger.read() as connection:
            return read_policies(connection, [model])[model].named
