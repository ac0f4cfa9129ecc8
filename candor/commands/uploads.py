"""`candor feedback` and `candor predictions`: tables of labels and answers, sent to a server."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from calibration.wording import counted, parameter
from candor.commands.options import DEFAULT_URL, FilePath, WrongUse, read_token, unused, web_address
from candor.predictions.image_files import FileIdRule
from candor.terminal.console import note
from candor.terminal.verb_result import PlainResult

if TYPE_CHECKING:
    from candor.predictions.upload import TableUpload
    from serving.client import Client

UPLOAD_TIMEOUT_S: Final = 120.0


def feedback(
    file: Path | None = None,
    *,
    prediction_id: str | None = None,
    label: str | None = None,
    findings: str | None = None,
    group: str | None = None,
    early: bool = False,
    model: str | None = None,
    request_id: FileIdRule | None = None,
    url: str = DEFAULT_URL,
    token_file: FilePath | None = None,
) -> PlainResult:
    """Upload the true labels of answers.

    A column `file` or `path` joins labels to answers by file name, if the images were sent with
    `candor predict --request-id filename`. A file that is sorted by label is sent in a random
    order, for the sake of the drift watch.

    Labels of findings have a column each, or are a list such as Edema|Mass in `label` with the
    findings that the reader looked for (`*`: all) in `looked_for`. A blank is a missing label,
    never a negative one.

    Uploading the same labels again changes nothing. If an upload is interrupted, run the command
    again: it continues where it stopped (FILE.progress). Rows that were not recorded go to
    FILE.rejected.csv with the reason, and the exit code is 1. It is 1, too, if no label found its
    answer.

    Example: candor feedback labels.csv

    Args:
        file: A .csv with a header, .ndjson or .parquet. Columns: label, or one for each finding,
            and file, prediction_id or request_id; optional: looked_for, model, source, reader,
            observed_at, patient.
        prediction_id: Label one answer, by its id, instead of a file.
        label: The true class of that answer; with a file, its column of true classes (default:
            label).
        findings: Columns with a finding each: 1, 0, -1 (uncertain) or blank; by commas (default:
            those of the model's findings). Of lists such as Edema|Mass: those that were looked for,
            'A|B|C' or '*' for all.
        group: Column of the patient, of answers that were served without one (default: one that is
            called so); none if each answer stands alone.
        request_id: What of a path is the request id: the file's name (filename), or all of it.
        early: The labels come before their answers: it is no failure if all wait.
        model: Model of rows that name an answer by file or request_id (default: the only one).
    """
    from serving.client import Client

    if (file is None) == (prediction_id is None) or (prediction_id is not None and label is None):
        raise WrongUse(
            f"give either a file, or {parameter('prediction_id')} with {parameter('label')}"
        )
    if prediction_id is not None:
        unused(
            f"{parameter('prediction_id')} names one answer, and there is no table",
            findings=findings,
            group=group,
            model=model,
            early=early,
            request_id=request_id,
        )
    with Client(
        web_address(url), token=read_token(token_file), timeout_s=UPLOAD_TIMEOUT_S
    ) as client:
        if file is not None:
            return _send_labels(
                file,
                client,
                label=label,
                findings=findings,
                group=group,
                model=model,
                rule=request_id or FileIdRule.FILENAME,
                early=early,
            )
        (result,) = client.feedback([{"prediction_id": prediction_id, "label": label}])
    return _one_result(result, prediction_id)


def predictions(
    file: Path,
    *,
    model: str | None = None,
    version: int | None = None,
    classes: str | None = None,
    findings: str | None = None,
    label: str | None = None,
    predicted: str | None = None,
    confidence: str | None = None,
    probabilities: str | None = None,
    group: str | None = None,
    group_pattern: str | None = None,
    url: str = DEFAULT_URL,
    token_file: FilePath | None = None,
) -> PlainResult:
    """Upload the answers of a model that Candor does not serve, to have it monitored.

    The columns are those of `candor ledger export`; options name those that are called otherwise.
    Probabilities may have a column each (`p_CLASS`). What is not sent is said. A model with
    findings has a column of probabilities for each (`p_Edema`), and may have one of labels: 1, 0,
    -1 (uncertain) or blank (`Edema` or `label_Edema`).

    Uploading the same answers again changes nothing. If an upload is interrupted, run the command
    again: it continues where it stopped (FILE.progress). Rows that were not recorded go to
    FILE.rejected.csv with the reason, and the exit code is 1.

    Example: candor predictions answers.csv --model retina --classes healthy,ill

    Args:
        file: A .csv with a header, .ndjson or .parquet. Columns: request_id or prediction_id;
            probabilities, or predicted and confidence; optional: served_at, tags, patient, audit,
            label, source, reader, observed_at, model, version.
        model: Model of the rows that name none.
        version: Version of the rows that name none (default: newest).
        classes: Declare the model first, with these classes, separated by commas.
        findings: Declare the model first, with these findings: Edema,Mass=0.3 (present from this
            probability on; default 0.5).
        label: Column of the true class (default: label).
        predicted: Column of the predicted class (default: predicted).
        confidence: Column of its probability (default: confidence).
        probabilities: Columns of the classes' probabilities, by commas; * stands for anything.
        group: Column of the patient or slide (default: one that is called so); none if each answer
            stands alone.
        group_pattern: Regular expression whose first group is the patient in the paths of files.
    """
    from candor.predictions.columns import ColumnWishes
    from candor.predictions.table import read_columns
    from candor.predictions.upload import TableUpload, require_columns
    from candor.predictions.upload_columns import declaration, prediction_columns
    from monitoring.logged.body import FIELDS
    from serving.client import Client

    wishes = ColumnWishes(
        label=label,
        predicted=predicted,
        confidence=confidence,
        group=group,
        group_pattern=group_pattern,
        scores=probabilities,
    )
    defaults: dict[str, Any] = {"model": model, "version": version}
    defaults = {name: value for name, value in defaults.items() if value is not None}
    try:
        declared = declaration(classes, findings)
    except ValueError as error:
        raise WrongUse(f"{parameter('findings')}: {error}") from None
    if declared and model is None:
        raise WrongUse(
            f"{parameter(next(iter(declared)))} declares a model; name it with {parameter('model')}"
        )
    with Client(
        web_address(url), token=read_token(token_file), timeout_s=UPLOAD_TIMEOUT_S
    ) as client:
        known = () if classes else declared.get("findings") or _findings_of(client, model, file)
        names = read_columns(file)
        found = prediction_columns(names, FIELDS, wishes, file=file, findings=tuple(known))
        for line in found.told():
            note(f"{file}: {line}")
        scores = [each.column for each in found.columns.scores] if found.sends_scores else []
        sure = [found.sources.get(name, name) for name in ("probabilities", "confidence")]
        require_columns(file, (*sure, *scores), ("request_id", "prediction_id"))
        if declared:
            client.declare({"version": 1} | defaults | declared)
        upload = TableUpload(file, lambda row: defaults | found.item(row))
        return _send(upload, client, "/predictions-log")


def _send_labels(
    file: Path,
    client: "Client",
    *,
    label: str | None,
    findings: str | None,
    group: str | None,
    model: str | None,
    rule: FileIdRule,
    early: bool,
) -> PlainResult:
    """Send a table of labels, after a look at its columns and before one at the server."""
    from candor.predictions import upload_columns as columns
    from candor.predictions.columns import ColumnWishes
    from candor.predictions.image_files import file_of, require_distinct_rows
    from candor.predictions.table import read_columns, read_rows
    from candor.predictions.upload import TableUpload, require_columns
    from candor.terminal.progress import working
    from monitoring.feedback.body import FIELDS

    names = read_columns(file)
    found = columns.label_columns(names, FIELDS, ColumnWishes(label=label, group=group), file=file)
    looked_for, asked = columns.wished_findings(findings)
    if not looked_for and not asked and found.columns.label is None and found.unknown:
        asked = columns.finding_columns(found, _findings_of(client, model, file))
    column = found.columns.label or "label"
    require_columns(file, tuple(asked.values()) or (column,), columns.ANSWER)
    with working(f"Reading {file}"):
        require_distinct_rows(read_rows(file), rule)
    found = found.with_labels(asked) if asked else found
    for line in found.told():
        note(f"{file}: {line}")
    if model is None and not {"prediction_id", "model"} & set(names):
        model = _only_model(client)

    def item(row: Mapping[str, Any]) -> dict[str, Any]:
        fields = ({"looked_for": looked_for} if looked_for else {}) | found.item(row)
        return columns.label_item(fields, file=file_of(row), model=model, rule=rule)

    upload = TableUpload(file, item, mixed=tuple(asked.values()) or (column,))
    return _send(upload, client, "/feedback", all_may_wait=early)


def _findings_of(client: "Client", model: str | None, file: Path) -> tuple[str, ...]:
    """Return the findings of the model that the table is about; none of one with classes."""
    from candor.predictions.table import read_rows
    from serving.client import ServerRefused

    row = next(read_rows(file), {})
    named = model or row.get("model") or ("prediction_id" not in row and _only_model(client))
    try:
        report = client.calibration(named or client.only_model())
    except ServerRefused:
        return ()
    return tuple(each["finding"] for each in report.get("findings", ()))


def _only_model(client: "Client") -> str:
    """Return the server's only model; WrongUse if there is none or several."""
    from serving.client import ServerRefused

    try:
        return client.only_model()
    except ServerRefused as refused:
        unsaid = "a monitor does not say which model a label is for"
        is_monitor = refused.status == 404 and refused.code != "unknown_model"
        why = unsaid if is_monitor else refused.detail
        raise WrongUse(f"{parameter('model')}: name the model ({why})") from refused


def _one_result(result: dict[str, Any], prediction_id: str | None) -> PlainResult:
    """What became of one label; exit code 1 if it was not recorded."""
    lost = {
        "unknown": "the server's ledger has no answer with this id. `candor predict --url` and "
        "every answer show it",
        "expired": "the ledger no longer keeps an answer of that age",
    }
    reason = lost.get(result["status"])
    if reason is None:
        return PlainResult([result], f"{result['status']}: 1")
    note(f"candor: {prediction_id} was not labeled: {reason}")
    return PlainResult([result], failed=True)


def _send(
    upload: "TableUpload", client: "Client", path: str, *, all_may_wait: bool = True
) -> PlainResult:
    """Send a table with progress; return how many rows got which status.

    The exit code is 1 if a row was not recorded, and, unless `all_may_wait`, if every label waits
    for its answer.
    """
    from candor.terminal.progress import bars

    with bars() as progress:
        done = upload.run(partial(client.upload, path), progress=progress)
    if upload.is_grouped:
        note(
            f"{upload.file} is sorted by label; its rows were sent in a random order, because the "
            "drift watch must not see one class after the other"
        )
    if done.began:
        note(f"continued after row {done.began:,}, where an earlier upload stopped")
    rejected_file = str(upload.rejected_file) if done.rejected else None
    lines = [f"{status}: {count:,}" for status, count in sorted(done.statuses.items())]
    if done.rejected:
        lines.append(f"{counted(done.rejected, 'row')} not recorded; reasons: {rejected_file}")
    pending = done.statuses["pending"]
    if pending:
        note(
            "pending: no answer has this request id yet, so the label waits for it. Were the "
            "images sent with --request-id, and with the same rule (filename or path)?"
        )
    all_wait = pending > 0 and pending == done.statuses.total() and not all_may_wait
    if all_wait:
        note(
            f"candor: {upload.file}: no label found its answer. If these labels come before their "
            f"answers, say {parameter('early', True)}"
        )
    return PlainResult(
        {**vars(done), "statuses": dict(done.statuses), "rejected_file": rejected_file},
        *lines,
        failed=bool(done.rejected) or all_wait,
    )
