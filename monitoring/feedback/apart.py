"""Takes items that label the findings of an image apart, and puts their results together again.

An item is refused as a whole if it names a finding that the model does not answer, or if it gives
one label where the model has findings, or the other way around: a name that is spelled wrong must
not pass for a finding without a label.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, select

from calibration.findings.labels import spelled
from monitoring.errors import FindingNeeded, FindingUnknown, MonitoringError
from monitoring.feedback.items import (
    NO_FINDING,
    OTHERS,
    STATUSES,
    FeedbackItem,
    FeedbackResult,
    FeedbackStatus,
    Reason,
)
from monitoring.ledger.database import in_lists
from monitoring.ledger.predictions import finding_id
from monitoring.ledger.schema import prediction, watched_versions


def size_of(item: FeedbackItem) -> int:
    """How many labels it holds, about."""
    return 1 if item.findings is None else max(len(item.findings), 1)


def spread(labels: Mapping[str, str], known: Sequence[str]) -> dict[str, str]:
    """Return the label of each finding that is named or, by OTHERS, meant; `known`: the model's."""
    given = dict(labels)
    rest = given.pop(OTHERS, None)
    if rest is None:
        return given
    if NO_FINDING not in known:
        given.pop(NO_FINDING, None)
    return dict.fromkeys(known or [OTHERS], rest) | given


@dataclass(frozen=True)
class Family:
    """The findings of a version, in their order; none of one with exclusive classes.

    `others`: those of other versions of the model, which may have answered too.
    """

    model: str
    findings: tuple[str, ...]
    others: frozenset[str] = frozenset()

    def checked(self, item: FeedbackItem) -> FeedbackItem:
        """Return the item with names as the model spells them. Raises FindingNeeded or
        FindingUnknown if it does not fit.
        """
        if item.findings is None and not item.finding and self.findings:
            raise FindingNeeded(self.model, self.findings, label=True)
        if item.findings is None:
            return item
        known_names = (*self.findings, *self.others)
        labels = {spelled(name, known_names): label for name, label in item.findings.items()}
        for name in labels:
            is_word = name in (OTHERS, NO_FINDING) and OTHERS in labels
            if name not in known_names and not (is_word and self.findings):
                raise FindingUnknown(name, self.findings)
        return item._replace(findings=labels)


@dataclass
class Apart:
    """The labels of items, and where their results belong."""

    labels: list[FeedbackItem] = field(default_factory=list)
    refused: int = 0
    _places: list[tuple[FeedbackItem, int, FeedbackResult | None]] = field(default_factory=list)

    def add(self, item: FeedbackItem, family: Family | None) -> None:
        """Take an item apart. `family`: of the model that answered, None if it is not known."""
        try:
            if family is not None:
                item = family.checked(item)
        except MonitoringError as error:
            self.refused += 1
            self._places.append((item, 0, _refusal(error)))
            return
        labels = _each(item, family.findings if family else ())
        self._places.append((item, len(labels), None))
        self.labels += labels

    def joined(self, results: Iterable[FeedbackResult]) -> list[FeedbackResult]:
        """Return one result for each item, from those of the labels."""
        left, names = iter(results), iter(self.labels)
        joined = []
        for item, size, refusal in self._places:
            own = {next(names).finding: next(left) for _ in range(size)}
            if refusal is not None:
                joined.append(refusal)
            elif item.findings is None:
                joined += own.values()
            else:
                joined.append(_of_image(item, own))
        return joined


def _each(item: FeedbackItem, known: Sequence[str]) -> list[FeedbackItem]:
    """Return one item for each finding, of a model that answers those that are `known`."""
    if item.findings is None:
        return [item]
    labels = spread(item.findings, known).items()
    return [item._replace(label=label, findings=None, finding=name) for name, label in labels]


def by_finding(
    connection: Connection,
    items: Sequence[FeedbackItem],
    apply: Callable[[Sequence[FeedbackItem]], list[FeedbackResult]],
) -> tuple[list[FeedbackResult], int]:
    """Apply the labels of items; return a result for each item, and how many were refused."""
    if not _has_findings(connection):
        return apply(items), 0
    apart = _take_apart(connection, items)
    return apart.joined(apply(apart.labels)), apart.refused


def _take_apart(connection: Connection, items: Sequence[FeedbackItem]) -> Apart:
    """Take items apart by the findings of the versions that answered them."""
    families = _families(connection)
    answered = _answered(connection, items, families)
    newest = _newest(families.values())
    apart = Apart()
    for item in items:
        known = newest.get(item.model or "") if item.model else answered.get(item.prediction_id)
        apart.add(item, known)
    return apart


def _of_image(item: FeedbackItem, results: Mapping[str, FeedbackResult]) -> FeedbackResult:
    """Return the result of an image; one without any label is unchanged."""
    if not results:
        return FeedbackResult(FeedbackStatus.UNCHANGED, item.prediction_id, findings={})
    name, first = min(results.items(), key=lambda result: STATUSES.index(result[1].status))
    row_id = first.prediction_id
    image_id = item.prediction_id or (row_id and finding_id(row_id, name))
    statuses = {name: result.status for name, result in results.items()}
    return first._replace(prediction_id=image_id, findings=statuses)


def _has_findings(connection: Connection) -> bool:
    """Whether any version in the ledger has findings."""
    some = select(watched_versions.c.finding).where(watched_versions.c.finding != "")
    return connection.scalar(some.limit(1)) is not None


def _families(connection: Connection) -> dict[int, Family]:
    """The family of each watched version, by its id, the last registered version last."""
    columns = watched_versions.c
    wanted = select(columns.watched_version_id, columns.model, columns.version, columns.finding)
    rows = connection.execute(
        wanted.order_by(columns.registered_at_ns, columns.watched_version_id)
    ).all()
    findings: dict[tuple[str, int], dict[str, None]] = {}
    for row in rows:
        findings.setdefault((row.model, row.version), {})[row.finding] = None
    return {
        row.watched_version_id: Family(
            row.model, tuple(filter(None, findings[row.model, row.version]))
        )
        for row in rows
    }


def _newest(families: Iterable[Family]) -> dict[str, Family]:
    """The family of each model's last registered version, with the findings of the others."""
    newest: dict[str, Family] = {}
    for family in families:
        before = newest.get(family.model)
        others = before.others.union(before.findings) if before else frozenset()
        newest[family.model] = replace(family, others=others)
    return newest


def _answered(
    connection: Connection, items: Sequence[FeedbackItem], families: Mapping[int, Family]
) -> dict[bytes | None, Family]:
    """The family of each image in the ledger that an item names by its prediction id."""
    first = {family.findings[0] if family.findings else "" for family in families.values()}
    ids = {
        finding_id(item.prediction_id, finding): item.prediction_id
        for item in items
        if item.prediction_id
        for finding in first
    }
    columns = prediction.c
    found: dict[bytes | None, Family] = {}
    for portion in in_lists(list(ids)):
        wanted = select(columns.prediction_id, columns.watched_version_id)
        for key, number in connection.execute(wanted.where(columns.prediction_id.in_(portion))):
            found[ids[key]] = families[number]
    return found


def _refusal(error: MonitoringError) -> FeedbackResult:
    return FeedbackResult(
        FeedbackStatus.REJECTED, None, Reason.UNKNOWN_LABEL, str(error), type(error)
    )
