"""The blocking client against an ASGI application of the test's own event loop."""

import asyncio

import httpx

from serving.client import Client


class _InLoop(httpx.BaseTransport):
    """Sends each request in the event loop in which it was made."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport, self._loop = transport, asyncio.get_running_loop()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return asyncio.run_coroutine_threadsafe(self._send(request), self._loop).result()

    async def _send(self, request: httpx.Request) -> httpx.Response:
        asked = httpx.Request(
            request.method, request.url, headers=request.headers, content=request.read()
        )
        answer = await self._transport.handle_async_request(asked)
        assert isinstance(answer.stream, httpx.AsyncByteStream)
        content = b"".join([part async for part in answer.stream])
        return httpx.Response(answer.status_code, headers=answer.headers, content=content)


def client_in_loop(transport: httpx.AsyncBaseTransport) -> Client:
    """A client whose calls belong into threads: `await asyncio.to_thread(client.predict, image)`."""
    return Client("http://candor", transport=_InLoop(transport))
