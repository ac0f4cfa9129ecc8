"""The pages on which people try images. A trial is recorded only if its form says so."""

import base64
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import msgspec
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from console.answers import kept_picture
from console.endpoints import form, page
from console.rendering import PAGE_HEADERS, answer_page, render
from console.tabs import Tabs
from hosting.caller import Caller, read_body
from hosting.error_table import error_answer
from hosting.errors import ClientGone, MalformedRequest, ServingError
from hosting.settings import Settings
from model_store.errors import ImageError, ModelStoreError, TagsInvalid
from model_store.store.samples import LONGEST_NAME, Sample, read_samples
from model_store.store.store import Store
from model_store.tags import read_tags
from monitoring.errors import brief
from monitoring.http.body_budget import BodyBudget
from monitoring.http.endpoint import Viewer, read_viewer
from monitoring.ledger.database import Ledger
from serving.deployment.loaded_models import LoadedModels
from serving.http.bodies import Answered
from serving.http.items import ImageItem
from serving.http.pipeline import InferencePipeline
from serving.http.request import FormFile, read_form, read_frame, read_head
from serving.inference.answer import PREDICTED
from serving.inference.batcher import Image
from serving.inference.served_version import ServedVersion
from serving.trials.standing import StandingReader
from serving.trials.tried_image import (
    TriedImage,
    ViewedImage,
    as_image,
    as_picture,
    as_viewed,
    shown_scope,
)

logger = logging.getLogger(__name__)

MOST_FILES: Final = 20  # each is shown with its picture
# Images or a sample's name, on which version, what to explain and tags as in a request for a
# prediction, and whether to record the answers.
_FIELDS: Final = frozenset(("file", "sample", "version", "frame", "explain", "record", "tags"))


class TrialRoutes:
    """The handlers of trials. `ledger` is None where this server shows no labels."""

    def __init__(
        self,
        *,
        settings: Settings,
        models: LoadedModels,
        pipeline: InferencePipeline,
        bodies: BodyBudget,
        ledger: Ledger | None,
        store: Store,
    ) -> None:
        self._settings, self._models, self._pipeline = settings, models, pipeline
        self._bodies, self._ledger, self._storage = bodies, ledger, store.storage
        self._standing = StandingReader(ledger)
        self._tabs = Tabs(store, ledger is not None, lambda model: model in models.by_name())

    async def form(self, request: Request) -> Response:
        served = self._models.find(request.path_params["model"])
        return await self._page(served, [], fields={}, viewer=read_viewer(request))

    async def try_images(self, request: Request) -> Response:
        """The page with the form and the answers."""
        async with self._body(request, is_form=True) as (content_type, body):
            files, fields = await to_thread.run_sync(_read_form, body, content_type)
            served = self._models.find(request.path_params["model"], fields.get("version") or None)
            if fields.get("sample"):
                files = [await self._sample(served, fields["sample"])]
            tags = _read_tags(fields.get("tags", ""))
            with served.lease():
                given = [file for file in files if file.data or file.name]
                trials = [
                    trial
                    for at, file in enumerate(given)
                    for trial in await self._try(served, at, file, fields, tags, request)
                ]
        return await self._page(served, trials, fields=fields, viewer=read_viewer(request))

    async def sample(self, request: Request) -> Response:
        """A sample image as the model sees it, for its button."""
        served = self._models.find(request.path_params["model"])
        file = await self._sample(served, request.path_params["name"])
        with served.lease():
            image = await self._pipeline.decoder.decode(file.data, served.spec)
        picture, _, _ = await to_thread.run_sync(as_picture, image)
        return Response(base64.b64decode(picture), headers=PAGE_HEADERS, media_type="image/png")

    async def heat_map(self, request: Request) -> Response:
        """Where the kept picture of an answer matters to what the model says of it, as PNG."""
        query, prediction_id = request.query_params, request.path_params["prediction_id"]
        png = await to_thread.run_sync(kept_picture, self._ledger, prediction_id)
        served = self._models.find(request.path_params["model"], query.get("version"))
        tags = _read_tags(query.get("tags", ""))
        with served.lease():
            image = as_image(png, served.spec.channels)
            explain = query.get("finding") or PREDICTED
            _, drawn = await self._pipeline.try_out(served, image, explain=explain, tags=tags)
        return Response(
            b"" if drawn is None else drawn.png, headers=PAGE_HEADERS, media_type="image/png"
        )

    async def view(self, request: Request) -> ViewedImage:
        """The values of one image, for a viewer that sets the window itself."""
        async with self._body(request) as (_, body):
            served = self._models.find(request.path_params["model"])
            if name := request.query_params.get("sample"):
                body = (await self._sample(served, name)).data
            with served.lease():
                viewing = await self._pipeline.decoder.view(
                    body, served.spec, read_frame(request.query_params.get("frame"))
                )
        return await to_thread.run_sync(as_viewed, viewing)

    @asynccontextmanager
    async def _body(
        self, request: Request, *, is_form: bool = False
    ) -> AsyncIterator[tuple[bytes, bytes]]:
        """The content type and the body, which stays in memory until the block is left."""
        limit_bytes, timeout_s = self._settings.max_body_bytes, self._settings.body_timeout_s
        head = read_head(request.scope["headers"], limit_bytes=limit_bytes)
        if is_form and head.media_type != "multipart/form-data":
            raise MalformedRequest("send the form of this page, multipart/form-data with files.")
        async with self._bodies.hold(head.length_bytes, copies=head.copies) as hold:
            receive = request.receive
            body = await read_body(receive, limit_bytes=limit_bytes, timeout_s=timeout_s, hold=hold)
            yield head.content_type, body

    async def _try(
        self,
        served: ServedVersion,
        at: int,
        file: FormFile,
        fields: dict[str, str],
        tags: str | None,
        request: Request,
    ) -> list[TriedImage]:
        """The trials of a file: one, or one of each frame that the form chooses."""
        shown = TriedImage(name=file.name or "image", file=at)
        spec = served.spec
        try:
            chosen, images = read_frame(fields.get("frame") or None), dict[int | None, Image]()
            if chosen is None:
                images[None] = await self._pipeline.decoder.decode(file.data, spec)
            else:
                frames = await self._pipeline.decoder.decode_frames(
                    file.data, spec, chosen, limit=MOST_FILES
                )
                images.update(zip(frames.numbers, frames.pixels, strict=True))
        except (ImageError, ServingError) as error:
            return [replace(shown, error=error_answer(error).detail)]
        return [
            await self._try_image(
                served, image, replace(shown, frame=number), fields, tags, request
            )
            for number, image in images.items()
        ]

    async def _try_image(
        self,
        served: ServedVersion,
        image: Image,
        shown: TriedImage,
        fields: dict[str, str],
        tags: str | None,
        request: Request,
    ) -> TriedImage:
        try:
            answer, explanation = await self._pipeline.try_out(
                served, image, explain=fields.get("explain") or None, tags=tags
            )
            item = ImageItem(image, tags=tags)
            recorded = await self._record(served, item, request) if fields.get("record") else None
        except ClientGone:
            raise
        except ServingError as error:
            return replace(shown, error=error_answer(error).detail)
        picture, width, height = await to_thread.run_sync(as_picture, image)
        return replace(
            shown,
            answer=answer,
            records=await self._standing.of_answers_like(served, answer),
            promised=None if served.card.conformal is None else 1 - served.card.conformal.alpha,
            scope=shown_scope(answer, served.card.scope, alpha=served.scope.alpha),
            trained_on=served.was_trained_on(image),
            explanation=explanation,
            picture=picture,
            width=width,
            height=height,
            prediction_id=recorded,
        )

    async def _sample(self, served: ServedVersion, name: str) -> FormFile:
        """The sample of this name; without such a sample, one that says so as an image does."""
        samples = dict(await to_thread.run_sync(self._samples, served.card.name))
        return FormFile(name[:LONGEST_NAME], samples.get(name, b""))

    def _samples(self, model: str) -> list[Sample]:
        """The sample images of the model; none, and a warning, while they cannot be read."""
        try:
            return read_samples(self._storage, model)
        except (ModelStoreError, OSError) as error:
            logger.warning(
                "samples cannot be read", extra={"fields": {"model": model, "reason": str(error)}}
            )
            return []

    async def _record(self, served: ServedVersion, item: ImageItem, request: Request) -> str:
        """The id of an answer that is recorded like any other."""
        answering = self._pipeline.answer_many(served, [item], caller=Caller(request.receive))
        if isinstance(answer := (await answering)[0], Exception):
            raise answer
        return msgspec.json.decode(answer, type=Answered).prediction_id

    async def _page(
        self,
        served: ServedVersion,
        trials: list[TriedImage],
        *,
        fields: dict[str, str],
        viewer: Viewer,
    ) -> Response:
        samples = await to_thread.run_sync(self._samples, served.card.name)
        return answer_page(
            render(
                "try.html",
                model=served.card.name,
                tabs=self._tabs.of(served.card.name, viewer, "Try"),
                versions=list(self._models.by_name()[served.card.name].answering),
                chosen=served.card.version,
                standing=await self._standing.of(served.card),
                trials=trials,
                samples=[each.name for each in samples],
                kind=served.card.kind,
                findings=[each.name for each in served.card.asked],
                explain=fields.get("explain", ""),
                frame=fields.get("frame", ""),
                tags=fields.get("tags", ""),
                limit=MOST_FILES,
                viewer=viewer,
            )
        )


def _read_form(body: bytes, content_type: bytes) -> tuple[list[FormFile], dict[str, str]]:
    files, fields = read_form(body, content_type, limit=MOST_FILES)
    for name in fields.keys() - _FIELDS:
        raise MalformedRequest(f"the form does not know the field {brief(name)}.")
    return files, fields


def _read_tags(text: str) -> str | None:
    """Tags as in the ledger. Raises MalformedRequest."""
    try:
        return read_tags(text)
    except TagsInvalid as error:
        raise MalformedRequest(f"{error}") from None


ENDPOINTS: Final = (
    page("/try/{model}", TrialRoutes.form, scope="predict"),
    form("/try/{model}", TrialRoutes.try_images, scope="predict"),
    page("/try/{model}/samples/{name}", TrialRoutes.sample, scope="predict"),
    page(
        "/try/{model}/heat-maps/{prediction_id}",
        TrialRoutes.heat_map,
        *("version", "finding", "tags"),
        scope="predict",
    ),
    form("/try/{model}/view", TrialRoutes.view, "frame", "sample", scope="predict"),
)
