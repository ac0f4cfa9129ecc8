"""`candor predict`: answers for images, from a server or from a bundle on disk."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from calibration.wording import parameter
from candor.commands.options import (
    FilePath,
    Place,
    WrongUse,
    any_store,
    read_token,
    settings,
    unused,
    web_address,
)
from candor.predictions.image_files import (
    FileIdRule,
    file_id,
    image_files,
    patients_of,
    require_distinct,
)

if TYPE_CHECKING:
    from candor.terminal.verb_result import VerbResult
    from model_store.bundle.bundle import Bundle
    from model_store.store.store import Store
    from serving.client import Client

Classify = Callable[[Path], list[dict[str, Any]]]
CONNECTIONS: Final = 8
EVERY_IMAGE: Final = (401, 403, 404)  # statuses that every other image would get too


def predict(
    images: Sequence[str],
    *,
    model: str | None = None,
    version: int | None = None,
    url: str | None = None,
    request_id: FileIdRule | None = None,
    group_pattern: str | None = None,
    frame: Annotated[str | None, "N|middle|all"] = None,
    tags: Annotated[str | None, "KEY=VALUE,..."] = None,
    csv: Path | None = None,
    out: str | None = None,
    engine: Literal["process", "ray"] = "process",
    token_file: FilePath | None = None,
    store: Place | None = None,
) -> "VerbResult":
    """Classify images with a running server, or with a model on disk.

    Without --url nothing is recorded: there is no prediction id, and no label can be joined later.

    With --out every image below a folder is answered exactly once, however often the command is
    interrupted and repeated; docs/how-to/ray.md says more.

    Exit codes: 0 if every image was answered, 1 if one was refused or the command failed, 2 for a
    wrong use. An image refused into --out counts at each repeat.

    Example: candor predict scan.png --url http://127.0.0.1:8080

    Args:
        images: Image files, or folders of them; with --out one folder, or its address.
        model: Model on the server or in the store, or the folder of a bundle (default: the only
            model).
        version: Version of the model (default: the one in production).
        url: Ask this running server, which records its answers.
        request_id: Send each file's name, or its path, as request id, so that a label can name the
            file.
        group_pattern: Regular expression on the path; its first group identifies the patient
            to the server, which stores only a keyed hash.
        frame: Of DICOM files with several frames: the number of one from 1, middle, or all (an
            answer for each; not with --out); default: what the model was trained on.
        tags: Tags of all images, such as site=A,device=CT-2: a calibrator for one of them applies.
            A server records them.
        csv: Write a table to this file: one row per image, with ids.
        out: Score a whole folder into this one, or this address: Parquet files of up to 5,000 rows.
            The same command goes on with the images that have no row yet.
        engine: With --out: score here, or on a Ray cluster.
    """
    from candor.terminal.predictions import Predicted

    chosen_frame, named = _frame(frame), _tags(tags)
    if out is not None:
        unused(
            f"{parameter('out')} scores with a model on disk into Parquet files",
            url=url,
            csv=csv,
            request_id=request_id,
            group_pattern=group_pattern,
            token_file=token_file,
        )
        from candor.commands.scoring import score_folder

        return score_folder(
            images,
            out,
            _bundle(model, version, any_store(store)),
            settings(store=store),
            engine=engine,
            frame=chosen_frame,
            tags=named,
        )
    if engine != "process":
        unused(f"a folder is scored into parts; say where with {parameter('out')}", engine=engine)
    if url is not None:
        unused(f"the server that {parameter('url')} names has its own", store=store)
    else:
        unused(
            f"no server is asked; name it with {parameter('url')}",
            request_id=request_id,
            group_pattern=group_pattern,
            token_file=token_file,
        )
    files = image_files(map(Path, images))
    if request_id is not None:
        require_distinct(files, request_id)
    patients = {} if group_pattern is None else patients_of(files, group_pattern)
    opened, connections = ExitStack(), 1
    if url is None:
        bundle = _bundle(model, version, any_store(store))
        classify = _bundle_classifier(bundle, chosen_frame, named)
    else:
        from serving.client import Client

        connections = CONNECTIONS
        client = opened.enter_context(Client(web_address(url), token=read_token(token_file)))
        classify = _server_classifier(
            client, model or client.only_model(), version, request_id, patients, chosen_frame, named
        )
    return Predicted(_stream(opened, classify, files, csv, connections=connections), csv)


def _frame(text: str | None) -> Any:
    """The frame that is chosen. Raises WrongUse."""
    from model_store.image import read_choice

    try:
        return None if text is None else read_choice(text)
    except ValueError as error:
        raise WrongUse(f"{parameter('frame')}: {error}") from None


def _tags(text: str | None) -> str | None:
    """The tags, as the ledger has them. Raises WrongUse."""
    from model_store import tags
    from model_store.errors import TagsInvalid

    try:
        return None if text is None else tags.read_tags(text)
    except TagsInvalid as error:
        raise WrongUse(f"{parameter('tags')}: {error}") from None


def _stream(
    opened: ExitStack,
    classify: Classify,
    files: Sequence[Path],
    csv: Path | None,
    *,
    connections: int,
) -> Iterator[dict[str, Any]]:
    """Yield every answer as it comes, with progress, and write it to the table."""
    from candor.terminal.predictions import AnswerTable
    from candor.terminal.progress import bars

    with opened:
        table = None if csv is None else opened.enter_context(AnswerTable(csv))
        progress = opened.enter_context(bars())
        answering = _answers(classify, files, connections=connections)
        for done, of_file in enumerate(answering, 1):
            for answer in of_file:
                if table is not None:
                    table.add(answer)
                yield answer
            progress("images", done, len(files))


def _answers(
    classify: Classify, files: Sequence[Path], *, connections: int
) -> Iterator[list[dict[str, Any]]]:
    """Yield the answers to each file, in order: one, or one for each chosen frame."""
    with ThreadPoolExecutor(connections) as pool:
        try:
            yield from pool.map(
                lambda file: [{"image": str(file)} | each for each in _answer(classify, file)],
                files,
            )
        finally:
            pool.shutdown(cancel_futures=True)


def _answer(classify: Classify, file: Path) -> list[dict[str, Any]]:
    from model_store.errors import ImageError
    from serving.client import ServerRefused

    try:
        return classify(file)
    except ServerRefused as refused:
        if refused.status in EVERY_IMAGE:
            raise
        return [{"error": refused.detail}]
    except ImageError as error:
        return [{"error": str(error)}]
    except OSError as error:  # the file's name is printed in front of it
        return [{"error": error.strerror or str(error)}]


def _server_classifier(
    client: "Client",
    model: str,
    version: int | None,
    rule: FileIdRule | None,
    patients: Mapping[Path, str],
    frame: Any,
    tags: str | None,
) -> Classify:
    given = None if tags is None else json.loads(tags)

    def classify(file: Path) -> list[dict[str, Any]]:
        named: dict[str, Any] = {"model": model, "version": version, "tags": given}
        named["request_id"] = None if rule is None else file_id(file, rule)
        named["patient"] = patients.get(file)
        if frame == "all":
            return [_told(each) for each in client.predict_frames(file, **named)]
        return [client.predict(file, **named, frame=frame)]

    return classify


def _told(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer for a frame; of an error, its sentence, as for a file."""
    return {"frame": answer["frame"], "error": answer["detail"]} if "error" in answer else answer


def _bundle_classifier(bundle: "Bundle", frame: Any, tags: str | None) -> Classify:
    from serving.inference.prediction import ScopePolicy
    from serving.inference.predictor import open_predictor

    known = settings()
    scope = ScopePolicy(known.scope_alpha, known.scope_out)
    predictor = open_predictor(bundle, on_difference=known.on_difference, scope=scope)
    named = {"model": bundle.card.name, "version": bundle.card.version}

    def classify(file: Path) -> list[dict[str, Any]]:
        if frame is None:
            found = predictor.classify(file.read_bytes(), tags=tags)
            return [named | predictor.scope.fields(found)]
        frames = predictor.classify_frames(file.read_bytes(), frame, tags=tags)
        return [
            {"frame": number} | named | predictor.scope.fields(answer)
            for number, answer in frames.items()
        ]

    return classify


def _bundle(model: str | None, version: int | None, opened: "Store") -> "Bundle":
    """Return the model in the store, or the bundle in a folder; a usage error without."""
    from model_store.bundle.bundle import CARD_FILE, read_bundle

    if model is None:
        return opened.read(_only_model(opened), version)
    folder = Path(model)
    if model in opened.models() or (len(folder.parts) == 1 and not folder.is_dir()):
        return opened.read(model, version)
    if (folder / CARD_FILE).is_file():
        if version is not None:
            raise WrongUse(
                f"{parameter('version')} is for a model in the store; {folder} is a bundle"
            )
        return read_bundle(folder)
    raise WrongUse(
        f"{parameter('model')}: {folder} has no {CARD_FILE}, so it is no bundle; expected MODEL in "
        f"the store {opened.storage.address}, or a folder such as {opened.location('MODEL', 1)}"
    )


def _only_model(store: "Store") -> str:
    names = store.models()
    if len(names) == 1:
        return names[0]
    without = "is empty" if store.storage.exists() else "does not exist"
    has = (
        f"holds {', '.join(names)}: name one"
        if names
        else f"{without}: `candor export` publishes into it"
    )
    raise WrongUse(
        f"{parameter('model')}: the store {store.storage.address} {has}; or ask a server with "
        f"{parameter('url')}"
    )
