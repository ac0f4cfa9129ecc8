"""What the monitoring room refuses, one class per reason. The table of errors in serving maps each
to a status code.

The order below follows the data:  body -> items -> recorder -> ledger,  then  ledger -> report ->
page.  Each error carries a sentence that says what was sent, what was expected and what to do.
"""

from collections.abc import Sequence
from typing import Any

from calibration.wording import parameter


class MonitoringError(Exception):
    """Base class of this room's refusals."""


class BodyTooLarge(MonitoringError, ValueError):
    """A request body over the limit. It is refused before it is read to its end."""

    def __init__(self, *, limit_bytes: int, advice: str, got_bytes: int | None = None) -> None:
        """`got_bytes`: the length that the client declared. `advice`: a sentence, what to do."""
        got = f"is {got_bytes:,} bytes" if got_bytes is not None else "is longer than the limit"
        super().__init__(f"the body {got}; at most {limit_bytes:,} bytes are taken. {advice}")


class BodyCompressed(MonitoringError, ValueError):
    """A body in a content encoding such as gzip, which may become anything in memory."""

    def __init__(self, encoding: str) -> None:
        super().__init__(
            f"the body is compressed (Content-Encoding: {encoding[:40]}), and compressed bodies "
            "are not taken; send it as it is, without that header."
        )


class BodyTimeout(MonitoringError, TimeoutError):
    """A body that did not arrive in time."""


class BodiesFull(MonitoringError, RuntimeError):
    retry_after_s = 1

    def __init__(self, capacity_bytes: int) -> None:
        super().__init__(
            f"the bodies of other requests fill the {capacity_bytes / 2**20:,.0f} MiB that are set "
            "aside for bodies (four times CANDOR_MAX_BODY_BYTES), so this one was not read; send "
            "it again later."
        )


class BodyNotJson(MonitoringError, ValueError):
    """A body that is not JSON."""


class FeedbackInvalid(MonitoringError, ValueError):
    """JSON that is not feedback: wrong types, missing or unknown fields, what is too long."""


class FormInvalid(MonitoringError, ValueError):
    """A form of a page with a field that is missing or cannot be read."""


class NoteInvalid(MonitoringError, ValueError):
    """JSON that does not say why an alarm is acknowledged or the watch is restarted."""


class SourcesInvalid(MonitoringError, ValueError):
    """Policies of label sources that cannot be read."""


class TableInvalid(MonitoringError, ValueError):
    """A CSV whose header is missing or names an unknown column."""


class PredictionInvalid(MonitoringError, ValueError):
    """A logged prediction with missing fields, a wrong id, or what are no probabilities."""


class PredictionDiffers(MonitoringError, ValueError):
    """A logged prediction whose id belongs to a different prediction in the ledger."""


class ItemsRejected(MonitoringError, ValueError):
    """A request whose items were all rejected.

    `cause` is the error class of the first item. `results` are those of a list's items; None for a
    single item.
    """

    def __init__(
        self,
        cause: type[MonitoringError],
        detail: str,
        *,
        results: list[dict[str, Any]] | None = None,
    ) -> None:
        self.cause, self.results = cause, results
        if results is not None:
            several = f"All {len(results):,} items were rejected; the first"
            detail = f"{'The item was rejected' if len(results) == 1 else several}: {detail}"
        super().__init__(detail)


class ModelInvalid(MonitoringError, ValueError):
    """An invalid declaration of a model."""


class ModelDiffers(MonitoringError, ValueError):
    def __init__(self, model: str, version: int) -> None:
        super().__init__(
            f"The ledger knows {model} version {version} with other classes or another reference; "
            "a version never changes: declare a new one."
        )


class ModelServed(MonitoringError, ValueError):
    """A declaration or logged answer of a model that Candor serves: it would mix two sources."""

    def __init__(self, model: str, version: int | None = None) -> None:
        which = brief(model) if version is None else f"{brief(model)} version {version}"
        super().__init__(
            f"Candor serves {which} itself, and its answers are recorded as they are given: send "
            "only their true labels, with `candor feedback` or POST /feedback. To watch what "
            "another server answers, declare it under another name, with `candor predictions` or "
            "POST /models-log."
        )


class BundleReplaced(MonitoringError, ValueError):
    def __init__(self, model: str, version: int, *, digest: str, known: str | None) -> None:
        other = f"a bundle with digest {known}" if known else "one with another card"
        super().__init__(
            f"bundle {model}/{version} is refused: its digest is {digest}, but the ledger's "
            f"answers of this version came from {other}. A version never changes: put its files "
            "back, publish what it holds now as the next version, or use another ledger"
        )


class ModelsFull(MonitoringError, RuntimeError):
    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit:,} versions are declared, which is the limit; use one of them.")


class TagNotWatched(MonitoringError, LookupError):
    def __init__(self, tag: str, model: str, version: int) -> None:
        super().__init__(
            f"No drift watch of {brief(model)} version {version} is for the tag {brief(tag)}; GET "
            "/models/{model}/report lists those there are (`tag_watches`). A value gets one with "
            "its first label, if "
            "CANDOR_DRIFT_TAGS names its key."
        )


class AlarmAcknowledged(MonitoringError, ValueError):
    """A form about an alarm that is not active any more; the sentence says who acknowledged it."""


class AuditMissing(MonitoringError, ValueError):
    """A wish to count audited answers only, of a version of which none was drawn."""


class LabelUnknown(MonitoringError, ValueError):
    def __init__(self, label: str, classes: tuple[str, ...]) -> None:
        shown = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
        super().__init__(
            f"Label {brief(label)} is not a class of this model; expected one of: {shown}."
        )


class FindingUnknown(MonitoringError, ValueError):
    def __init__(self, finding: str, findings: Sequence[str]) -> None:
        shown = ", ".join(findings[:20]) + (", ..." if len(findings) > 20 else "")
        known = f"expected one of: {shown or 'none, since its classes are exclusive'}"
        super().__init__(f"{brief(finding)} is no finding of this model; {known}.")


class FindingNeeded(MonitoringError, ValueError):
    """A request about one answer of a model that has findings, or a `label`, without a finding's
    name.
    """

    def __init__(self, model: str, findings: Sequence[str], *, label: bool = False) -> None:
        shown = ", ".join(findings[:20]) + (", ..." if len(findings) > 20 else "")
        todo = (
            "give 'labels' by name, or 'looked_for' beside a list in 'label'"
            if label
            else "name one of them"
        )
        super().__init__(f"{brief(model)} has findings; {todo}: {shown}.")


class PendingFull(MonitoringError, RuntimeError):
    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit:,} labels already wait for their predictions; check that request ids are "
            "spelled the same in predictions and feedback, then send this label again."
        )


class ModelNotInLedger(MonitoringError, LookupError):
    def __init__(
        self, model: str, version: int | None = None, *, known: Sequence[str] | None = None
    ) -> None:
        """`known`: the models, or versions of this one, in the ledger; None: nobody looked."""
        which = brief(model) if version is None else f"{brief(model)} version {version}"
        if known is None:  # only where a server answers; the command line looks
            listed = "GET /reports lists those it knows"
        elif known:
            listed = f"it knows {', '.join(each[:80] for each in known[:10])}"
        else:
            listed = "there is none in it yet: serve one first"
        super().__init__(f"The ledger knows no model {which}; {listed}.")


class ModelNeeded(MonitoringError, LookupError):
    def __init__(self, models: list[str]) -> None:
        known = f"several models ({', '.join(models[:10])}); name one"
        super().__init__(
            f"The ledger knows {known if models else 'no model yet; serve one first'}."
        )


class QueryInvalid(MonitoringError, ValueError):
    """A query parameter that is unknown, repeated, or cannot be read."""


class PictureMissing(MonitoringError, LookupError):
    def __init__(self, prediction_id: str) -> None:
        super().__init__(f"The ledger has no picture of the answer {brief(prediction_id)}.")


class LedgerError(MonitoringError, RuntimeError):
    """A ledger that cannot be opened: a wrong URL, no database, another release's schema."""


class LedgerNotUp(LedgerError):
    """The ledger's database takes no connections, perhaps not yet."""


class LedgerDriverMissing(LedgerError):
    """The packages for this kind of database are not installed; `install` is the command."""

    def __init__(self, what: str, *, install: str) -> None:
        self.install = install
        super().__init__(f"{what}; install it with: {install}")


class LedgerReadOnly(LedgerError):
    """A ledger that can be read, but not written as this process needs to."""


class LedgerCopyRefused(MonitoringError, ValueError):
    """A ledger that cannot be exported, copied or put back, or a target that cannot hold it."""


class NotRegistered(MonitoringError, LookupError):
    def __init__(self, watched_version_id: int) -> None:
        super().__init__(
            f"Calibration {watched_version_id} is not registered; call Recorder.register(card) "
            "first."
        )


class RecorderClosed(MonitoringError, RuntimeError):
    def __init__(self) -> None:
        super().__init__("The recorder has stopped; nothing more is written to the ledger.")


class SpoolFull(MonitoringError, RuntimeError):
    def __init__(self, path: str, limit_bytes: int) -> None:
        super().__init__(
            f"The spool {path} is full ({limit_bytes:,} bytes); bring the ledger back, or raise "
            "the limit."
        )


class AnswersSpooled(MonitoringError, RuntimeError):
    retry_after_s = 1

    def __init__(self, rows: int) -> None:
        super().__init__(
            f"The ledger is or was away, and {rows:,} answer{'s are' if rows != 1 else ' is'} not "
            "in it yet; send these labels again later."
        )


class RecalibrationRefused(MonitoringError, ValueError):
    """Labels that are too few or unsuitable to fit a remedy, or that ask for none."""


class RecalibrationHarms(RecalibrationRefused):
    """A remedy that makes subgroups worse, and that nobody has accepted."""


class ClockDoubtful(MonitoringError, RuntimeError):
    def __init__(self, reason: str) -> None:
        super().__init__(
            f"Nothing is deleted by age, because {reason}. Correct the clock; if it is right, run "
            f"`candor ledger prune` with {parameter('trust_clock', True)}."
        )


def brief(text: str, *, limit: int = 60) -> str:
    """Quote `text` for an error sentence, cut to `limit` so that a caller cannot fill a log.

    >>> brief("Œdème\\n"), brief("a" * 100, limit=4)
    ("'Œdème\\\\n'", "'aaaa...'")
    """
    return repr(text if len(text) <= limit else text[:limit] + "...")
