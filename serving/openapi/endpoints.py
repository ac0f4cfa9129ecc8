"""The API's description as endpoints of its own: /openapi.json for programs, /docs for people."""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Final

from anyio import to_thread
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from model_store.installation import release
from monitoring.api.endpoint import Endpoint, bind
from monitoring.pages.rendering import answer_page
from serving.openapi.document import document
from serving.openapi.page import page

_Defined = Meta(description="as the OpenAPI Specification 3.1 defines it")


class ApiInfo(Struct, frozen=True):
    """The name, version and purpose of the API."""

    title: str
    version: str
    description: str


class ApiDocument(Struct, frozen=True):
    """An OpenAPI document, 3.1."""

    openapi: str
    info: ApiInfo
    paths: Annotated[dict[str, Any], _Defined]
    components: Annotated[dict[str, Any], _Defined]
    security: list[dict[str, list[str]]]


class DescriptionRoutes:
    """The handlers that describe the given endpoints."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = endpoints

    @cached_property
    def described(self) -> dict[str, Any]:
        """The document. It is made when it is first needed, which takes some 60 ms."""
        return document(self._endpoints, version=release())

    async def document(self, _: Request) -> ApiDocument:
        """The document."""
        return ApiDocument(**await to_thread.run_sync(lambda: self.described))

    async def page(self, _: Request) -> Response:
        """The document as a page."""
        return answer_page(await to_thread.run_sync(lambda: page(self.described)))


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/docs",
        handler=DescriptionRoutes.page,
        tag="pages",
        summary="This description.",
        gives={"text/html": str},
    ),
    Endpoint(
        method="GET",
        path="/openapi.json",
        handler=DescriptionRoutes.document,
        tag="pages",
        summary="This description for programs.",
    ),
)


def with_description(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """The endpoints, and those that describe all of them."""
    return [*bind(ENDPOINTS, DescriptionRoutes([*ENDPOINTS, *endpoints])), *endpoints]
