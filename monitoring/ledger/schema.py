"""The ledger's tables in SQLAlchemy Core, the same on SQLite and PostgreSQL.

Facts are appended: `watched_versions`, `prediction`, `feedback`, `monitor_event`, `tag_value`,
`label_source`. Only `counts_as` of a label changes, with the policy of its source.
Everything else except `input_day` and `picture` is derived from them in the same transaction and
can be recounted: the label in a row of `prediction`, `bin_day`, `bin_total`, `monitor_state`.
Times are nanoseconds since 1970 UTC. Ids of predictions are UUIDv7, so new rows go to the end of
the table and an age is a range of keys.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    cast,
    text,
)

SCHEMA_VERSION = 8  # a ledger with another number is refused

EVERYTHING = ""  # the slice of all answers
DAY_NS = 86_400_000_000_000  # nanoseconds in a UTC day; days are counted from 1970
LAST_DAY = 2**63 // DAY_NS - 3  # whose nanoseconds fit into a column, with room for a day or two
# Between the servings of images of one patient that count as independent.
APART_NS = 180 * DAY_NS

metadata = MetaData()
# SQLite numbers rows by itself only for INTEGER.
_serial = BigInteger().with_variant(Integer, "sqlite")


def _key(name: str, kind: Any, **more: Any) -> Column[Any]:
    return Column(name, kind, primary_key=True, **more)


def _filled(name: str, kind: Any, **more: Any) -> Column[Any]:
    return Column(name, kind, nullable=False, **more)


def _sums(name: str, keys: dict[str, Any], sums: Iterable[str]) -> Table:
    """A table of sums. Writers on PostgreSQL add to different shards, so that they need not wait
    for each other's commit; readers add the shards up.
    """
    keyed = {"watched_version_id": BigInteger} | keys | {"shard": SmallInteger}
    columns = [_key(*key) for key in keyed.items()] + [_filled(each, BigInteger) for each in sums]
    return Table(name, metadata, *columns, sqlite_with_rowid=False)


ledger_schema = Table("ledger_schema", metadata, _key("version", Integer))

# One row per bundle, or one per finding of it: a version whose card changes is another watched
# version. A label belongs to the one that answered.
watched_versions = Table(
    "watched_versions",
    metadata,
    _key("watched_version_id", _serial),
    _filled("model", Text),
    _filled("version", Integer),
    _filled("card_sha256", Text),
    _filled("finding", Text),  # '': the model has exclusive classes
    _filled("card", Text),  # JSON from the bundle: classes, reference measures, threshold
    _filled("registered_at_ns", BigInteger),  # when a server last started to serve it
    Column("bundle_digest", Text),  # of the manifest of the bundle; NULL: served elsewhere
    UniqueConstraint("model", "version", "card_sha256"),
)

# One row per answer: of an image, or of one finding in it (predictions.py), with its current label
# if it has one that counts as truth.
prediction = Table(
    "prediction",
    metadata,
    _key("prediction_id", LargeBinary(16)),
    _filled("watched_version_id", BigInteger),
    Column("request_id", Text),
    _filled("predicted", SmallInteger),  # index into the card's classes
    _filled("confidence", Double),  # the largest probability; of a finding that of its presence
    # (K,) float32, little endian; empty if not known, and of a finding
    _filled("probabilities", LargeBinary),
    _filled("served_at_ns", BigInteger),
    Column("tags", Text),  # canonical JSON object of at most three short strings from the caller
    Column("audit", Double),  # probability with which it was drawn for an audit; NULL: not drawn
    Column("patient", BigInteger),  # keyed hash of the identifier; NULL: unknown
    Column("scope_p", Double),  # p-value of the image's scope check; NULL: the graph has none
    Column("label", SmallInteger),  # index into the card's classes
    Column("first_feedback_id", BigInteger),  # of the first label that counts
    Column("revision", Integer),  # how often the label was corrected
    sqlite_with_rowid=False,
)

# The key of these hashes, in one row: `recognized_by` is what it signs, `secret` the key itself,
# NULL if it is in a file (patient_key.py).
patient_key = Table(
    "patient_key", metadata, _key("recognized_by", LargeBinary(8)), Column("secret", LargeBinary)
)

_by_request = prediction.c.request_id.is_not(None)
Index(
    "prediction_request",
    prediction.c.request_id,
    sqlite_where=_by_request,
    postgresql_where=_by_request,
)

IS_LABELED = prediction.c.first_feedback_id.is_not(None)
CORRECT = cast(prediction.c.label == prediction.c.predicted, Integer)
Index(
    "prediction_labeled",
    prediction.c.watched_version_id,
    prediction.c.first_feedback_id,
    sqlite_where=IS_LABELED,
    postgresql_where=IS_LABELED,
)

# What the model saw, where a server keeps it for those who label (pictures.py). The index sums up
# sizes without reading pictures.
picture = Table(
    "picture",
    metadata,
    _key("prediction_id", LargeBinary(16)),
    _filled("expires_at_ns", BigInteger),
    _filled("size_bytes", Integer),
    _filled("png", LargeBinary),
    Index("picture_age", "expires_at_ns", "size_bytes"),
)

# Ids for labels on PostgreSQL, where several processes take them; within a version they follow
# the commits.
feedback_number = Sequence("feedback_number", metadata=metadata)

# Every label, in the order of arrival. `counts_as` follows from the sources' policies and from who
# read (watched_version.py): of those that count as truth, the first is the one that the drift
# detector may see, and the last is the current label.
feedback = Table(
    "feedback",
    metadata,
    _key("feedback_id", _serial, autoincrement=False),
    _filled("prediction_id", LargeBinary(16)),
    _filled("watched_version_id", BigInteger),
    _filled("label", SmallInteger),  # -1: uncertain
    _filled("correct", SmallInteger),
    _filled("counts_as", SmallInteger),
    Column("source", Text),
    Column("reader", Text),
    Column("observed_at_ns", BigInteger),
    _filled("received_at_ns", BigInteger),
    Index("feedback_answer", "prediction_id"),
)
_aside = feedback.c.counts_as > 0
Index(
    "feedback_aside",
    feedback.c.watched_version_id,
    feedback.c.feedback_id,
    sqlite_where=_aside,
    postgresql_where=_aside,
)

# What the labels of a source count as: `truth`, `proxy` or `ignore`. Model '': of every model that
# has no policy of its own for the source.
label_source = Table(
    "label_source",
    metadata,
    _key("model", Text),
    _key("source", Text),
    _filled("policy", Text),
    sqlite_with_rowid=False,
)

# The labels of known patients that bet in the drift watch, with the bet that they share; see
# patient_bets.py.
patient_bet = Table(
    "patient_bet",
    metadata,
    _key("watched_version_id", BigInteger),
    _key("patient", BigInteger),
    _key("feedback_id", BigInteger),
    _filled("bet", BigInteger),  # the feedback id of its first label
    _filled("served_at_ns", BigInteger),  # the image
    sqlite_with_rowid=False,
)

# Labels that arrived before their answers, by the caller's request id. Bounded; the last label of
# a source and reader ('': not named) wins.
feedback_pending = Table(
    "feedback_pending",
    metadata,
    _key("model", Text),
    _key("request_id", Text),
    _key("source", Text),
    _key("reader", Text),
    _key("finding", Text),
    _filled("label", Text),
    Column("observed_at_ns", BigInteger),
    _filled("received_at_ns", BigInteger),
    Column("patient", BigInteger),  # as of `prediction`
    Index("feedback_pending_request", "request_id"),
)

# Sums per UTC day *on which the answer was served*. They remain when rows are pruned, and the cost
# of a report does not grow with the number of answers. Slice '' is everything; see
# sum_tables.py for the others. Sums other than counts are in units of 2^-32.
_OF_ANSWERS = ("served", "served_confidence")
_OF_LABELS = ("n", "confidence", "correct", "variance", "squared_error")
_KEYS = {"slice": Text, "day": Integer, "bin": SmallInteger}
bin_day = _sums("bin_day", _KEYS, (*_OF_ANSWERS, *_OF_LABELS))

# The day sums added up over all days.
bin_total = _sums("bin_total", {"slice": Text, "bin": SmallInteger}, (*_OF_ANSWERS, *_OF_LABELS))

# Brightness of the inputs by UTC day, if the card has a reference for it: sums over images of mean,
# contrast and their squares, in units of 2^-16 gray levels. The figures of single images are not
# kept, so these cannot be recounted.
_OF_INPUTS = ("n", "mean", "mean_squared", "contrast", "contrast_squared", "trained_on")
input_day = _sums("input_day", {"day": Integer}, _OF_INPUTS)

# The tag values that have a slice of their own: the first that arrived, up to a limit.
tag_value = Table(
    "tag_value",
    metadata,
    _key("model", Text),
    _key("key", Text),
    _key("value", Text),
    sqlite_with_rowid=False,
)

# Times by name: `pruned`, before which answers are deleted, but not their day sums; `used`, when
# the ledger was last in use; and when sessions that people ended would have ended by themselves.
watermark = Table("watermark", metadata, _key("name", Text), _filled("at_ns", BigInteger))

# The detectors after label `last_feedback_id`, saved in the transaction that recorded that label:
# that of all answers (slice ''), and those of the slices of watched tags.
monitor_state = Table(
    "monitor_state",
    metadata,
    _key("watched_version_id", BigInteger, autoincrement=False),
    _key("slice", Text),
    _filled("settings", Text),
    _filled("state", Text),
    _filled("last_feedback_id", BigInteger),
    # JSON, in the row of all answers: the tags with detectors of their own, and their tolerances
    Column("tags", Text),
)

# `started`, `settings`, `alarm`, `acknowledged` and the like, which a replay of the labels must
# apply, and after which label; and `promoted`: a server started to serve this version as
# production.
monitor_event = Table(
    "monitor_event",
    metadata,
    _key("event_id", _serial),
    _filled("watched_version_id", BigInteger),
    _filled("kind", Text),
    _filled("feedback_id", BigInteger, server_default=text("0")),
    _filled("at_ns", BigInteger),
    _filled("detail", Text),  # JSON
    _filled("slice", Text, server_default=text("''")),  # whose detector it is about
    Index("monitor_event_order", "watched_version_id", "event_id"),
)
