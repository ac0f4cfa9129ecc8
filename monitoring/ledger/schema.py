"""The ledger's tables in SQLAlchemy Core, the same on SQLite and PostgreSQL.

Facts are appended: `watched_versions`, `prediction`, `feedback`, `monitor_event`, `tag_value`.
Everything else except `input_day` and `picture` is derived from them in the same transaction and
can be recounted: `label_current`, `bin_day`, `bin_total`, `class_day`, `monitor_state`. Times are
nanoseconds since 1970 UTC. Ids of predictions are UUIDv7, so new rows go to the end of the table
and an age is a range of keys.
"""

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
    text,
)

SCHEMA_VERSION = 1  # a ledger with another number is refused

EVERYTHING = ""  # the slice of all answers
DAY_NS = 86_400_000_000_000  # nanoseconds in a UTC day; days are counted from 1970

metadata = MetaData()
_serial = BigInteger().with_variant(
    Integer, "sqlite"
)  # SQLite numbers rows by itself only for INTEGER

ledger_schema = Table("ledger_schema", metadata, Column("version", Integer, primary_key=True))

# One row per bundle: a version whose card changes is another watched version. A label belongs to
# the one that answered.
watched_versions = Table(
    "watched_versions",
    metadata,
    Column("watched_version_id", _serial, primary_key=True),
    Column("model", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("card_sha256", Text, nullable=False),
    Column(
        "card", Text, nullable=False
    ),  # JSON from the bundle: classes, reference measures, threshold
    Column(
        "registered_at_ns", BigInteger, nullable=False
    ),  # when a server last started to serve it
    Column("bundle_digest", Text),  # of the manifest of the bundle; NULL: served elsewhere
    UniqueConstraint("model", "version", "card_sha256"),
)

prediction = Table(
    "prediction",
    metadata,
    Column("prediction_id", LargeBinary(16), primary_key=True),
    Column("watched_version_id", BigInteger, nullable=False),
    Column("request_id", Text),
    Column("predicted", SmallInteger, nullable=False),  # index into the card's classes
    Column("confidence", Double, nullable=False),  # the largest probability
    Column("probabilities", LargeBinary, nullable=False),  # (K,) float32, little endian
    Column("served_at_ns", BigInteger, nullable=False),
    Column("tags", Text),  # canonical JSON object of at most three short strings from the caller
    Column("audit", Double),  # probability with which it was drawn for an audit; NULL: not drawn
    sqlite_with_rowid=False,
)
_by_request = prediction.c.request_id.is_not(None)
Index(
    "prediction_request",
    prediction.c.request_id,
    sqlite_where=_by_request,
    postgresql_where=_by_request,
)

# What the model saw, where a server keeps it for those who label (pictures.py). The index sums up
# sizes without reading pictures.
picture = Table(
    "picture",
    metadata,
    Column("prediction_id", LargeBinary(16), primary_key=True),
    Column("expires_at_ns", BigInteger, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("png", LargeBinary, nullable=False),
    Index("picture_age", "expires_at_ns", "size_bytes"),
)

# Ids for labels on PostgreSQL, where several processes take them; within a version they follow
# the commits.
feedback_number = Sequence("feedback_number", metadata=metadata)

# Append-only. Revision 0 is the first label of an answer, the only one that the drift detector
# sees.
feedback = Table(
    "feedback",
    metadata,
    Column("feedback_id", _serial, primary_key=True, autoincrement=False),
    Column("prediction_id", LargeBinary(16), nullable=False),
    Column("watched_version_id", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("label", SmallInteger, nullable=False),
    Column("correct", SmallInteger, nullable=False),
    Column("source", Text),
    Column("observed_at_ns", BigInteger),
    Column("received_at_ns", BigInteger, nullable=False),
)

# The current label of each labeled answer, and the id of its first label.
label_current = Table(
    "label_current",
    metadata,
    Column("prediction_id", LargeBinary(16), primary_key=True),
    Column("watched_version_id", BigInteger, nullable=False),
    Column("first_feedback_id", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("label", SmallInteger, nullable=False),
    Column("correct", SmallInteger, nullable=False),
    Column("confidence", Double, nullable=False),
    Index("label_current_order", "watched_version_id", "first_feedback_id"),
    sqlite_with_rowid=False,
)

# Labels that arrived before their answers, by the caller's request id. Bounded; the last label
# wins.
feedback_pending = Table(
    "feedback_pending",
    metadata,
    Column("model", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("label", Text, nullable=False),
    Column("source", Text),
    Column("observed_at_ns", BigInteger),
    Column("received_at_ns", BigInteger, nullable=False),
    Index("feedback_pending_request", "request_id"),
)

# Sums per UTC day *on which the answer was served*. They remain when rows are pruned, and the cost
# of a report does not grow with the number of answers. Slice '' is everything; see slices.py for
# the others. Writers on PostgreSQL add to different shards, so that they need not wait for each
# other's commit; readers add the shards up.
bin_day = Table(
    "bin_day",
    metadata,
    Column("watched_version_id", BigInteger, primary_key=True),
    Column("slice", Text, primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("bin", SmallInteger, primary_key=True),
    Column("shard", SmallInteger, primary_key=True),
    Column("served", BigInteger, nullable=False),
    Column("served_confidence", Double, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("confidence", Double, nullable=False),
    Column("correct", BigInteger, nullable=False),
    Column("variance", Double, nullable=False),
    Column("squared_error", Double, nullable=False),
    sqlite_with_rowid=False,
)

# The day sums added up over all days; see totals.py. Sums other than counts are integers in units
# of 2^-32, because float64 adds only two million answers exactly.
bin_total = Table(
    "bin_total",
    metadata,
    Column("watched_version_id", BigInteger, primary_key=True),
    Column("slice", Text, primary_key=True),
    Column("bin", SmallInteger, primary_key=True),
    Column("shard", SmallInteger, primary_key=True),
    Column("served", BigInteger, nullable=False),
    Column("served_confidence", BigInteger, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("confidence", BigInteger, nullable=False),
    Column("correct", BigInteger, nullable=False),
    Column("variance", BigInteger, nullable=False),
    Column("squared_error", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Sums of all class probabilities per UTC day, predicted class and class, in units of 2^-32; see
# class_sums.py. The first two are over all answers with full probabilities, the others over those
# with a label.
class_day = Table(
    "class_day",
    metadata,
    Column("watched_version_id", BigInteger, primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("predicted", SmallInteger, primary_key=True),
    Column("audited", SmallInteger, primary_key=True),
    Column("true_class", SmallInteger, primary_key=True),
    Column("shard", SmallInteger, primary_key=True),
    Column("served", BigInteger, nullable=False),
    Column("served_squared", BigInteger, nullable=False),
    Column("counts", BigInteger, nullable=False),
    Column("labeled", BigInteger, nullable=False),
    Column("labeled_squared", BigInteger, nullable=False),
    Column("squared_error", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Brightness of the inputs by UTC day, if the card has a reference for it: sums over images of mean,
# contrast and their squares, in units of 2^-16 gray levels. The figures of single images are not
# kept, so these cannot be recounted.
input_day = Table(
    "input_day",
    metadata,
    Column("watched_version_id", BigInteger, primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("shard", SmallInteger, primary_key=True),
    Column("n", BigInteger, nullable=False),
    Column("mean", BigInteger, nullable=False),
    Column("mean_squared", BigInteger, nullable=False),
    Column("contrast", BigInteger, nullable=False),
    Column("contrast_squared", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# The tag values that have a slice of their own: the first that arrived, up to a limit.
tag_value = Table(
    "tag_value",
    metadata,
    Column("model", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    sqlite_with_rowid=False,
)

# How far the ledger has been pruned: answers served before `at_ns` are deleted, their day sums are
# not.
watermark = Table(
    "watermark",
    metadata,
    Column("name", Text, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
)

# The detectors after label `last_feedback_id`, saved in the transaction that recorded that label:
# that of all answers (slice ''), and those of the slices of watched tags.
monitor_state = Table(
    "monitor_state",
    metadata,
    Column("watched_version_id", BigInteger, primary_key=True, autoincrement=False),
    Column("slice", Text, primary_key=True),
    Column("settings", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("last_feedback_id", BigInteger, nullable=False),
    # JSON, in the row of all answers: the tags with detectors of their own, and their tolerances
    Column("tags", Text),
)

# `started`, `settings`, `alarm`, `acknowledged` and the like, which a replay of the labels must
# apply, and after which label; and `promoted`: a server started to serve this version as
# production.
monitor_event = Table(
    "monitor_event",
    metadata,
    Column("event_id", _serial, primary_key=True),
    Column("watched_version_id", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("feedback_id", BigInteger, nullable=False, server_default=text("0")),
    Column("at_ns", BigInteger, nullable=False),
    Column("detail", Text, nullable=False),  # JSON
    Column("slice", Text, nullable=False, server_default=text("''")),  # whose detector it is about
    Index("monitor_event_order", "watched_version_id", "event_id"),
)
