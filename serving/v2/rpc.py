"""The protocol's gRPC service on its own port, which asks the server's REST routes; needs the extra
`grpc`.

It runs in a process of its own (serving/process/rpc_process.py). gRPC's library has no bounds on
what a connection costs; so a client that floods it holds that process, and nothing else. Only the
check of tokens is also here, so that no message of a stranger is read.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import grpc
import httpx
import msgspec
from anyio import to_thread
from grpc import StatusCode

from monitoring.errors import BodyTimeout
from monitoring.http.body_budget import LIST_COPIES, BodyBudget
from monitoring.http.endpoint import Scope
from serving.error_table import GRPC_STATUS, error_answer
from serving.errors import ListenError, MalformedRequest, ServingError
from serving.http.auth import AccessControl
from serving.http.request_log import REQUEST_ID, log_request, new_request_id
from serving.settings import Settings
from serving.v2.rest_body import HEADER
from serving.v2.rpc_messages import CALLS, INFER, RestCall, read_call, write_answer

OPEN_CALLS: Final = frozenset({"ServerLive", "ServerReady"})  # as /v2/health/... in REST
SERVICE: Final = "inference.GRPCInferenceService"
STREAMS: Final = 100  # calls of a connection at a time
DEADLINE: Final = "x-candor-deadline-s"
IDENTITY: Final = REQUEST_ID.decode()
# Metadata that are passed on as headers.
PASSED: Final = ("authorization", "idempotency-key", "trace", "x-candor-", IDENTITY)
Context: TypeAlias = Any  # grpc.aio.ServicerContext, whose package has no types


class RpcService:
    """Answers the protocol's calls with what `client` gets from the REST routes."""

    def __init__(
        self, client: httpx.AsyncClient, *, settings: Settings, access: AccessControl
    ) -> None:
        self.bodies = BodyBudget(
            settings.body_budget_bytes, wait_s=settings.deadline_s or settings.body_timeout_s
        )
        self._client, self._settings, self._access = client, settings, access

    def handlers(self) -> grpc.GenericRpcHandler:
        """A handler for each call.

        They read the message themselves, as the only one of a stream, because grpc tells nobody how
        long a message is before it has read it. They parse it themselves, because grpc logs a trace
        for broken ones.
        """
        handle = partial(
            grpc.stream_unary_rpc_method_handler,
            response_serializer=lambda m: m.SerializeToString(),
        )
        return grpc.method_handlers_generic_handler(
            SERVICE, {name: handle(partial(self._answer, name)) for name in CALLS}
        )

    async def _answer(self, name: str, _messages: Any, context: Context) -> Any:
        started_s, headers = time.perf_counter(), _headers(context)
        try:
            data = await self._read(name, headers, context)
            async with self.bodies.hold(len(data), copies=LIST_COPIES, arrived=True):
                call = await to_thread.run_sync(read_call, name, data)
                answer = await self._ask(call, headers)
        except httpx.TransportError:
            await context.abort(StatusCode.UNAVAILABLE, "the server ends; try again.")
        except Exception as error:  # noqa: BLE001  the edge of the call: the table of errors decides what the client sees
            refused = error_answer(error)
            if self._settings.log_requests:
                headers.setdefault(IDENTITY, new_request_id())
                log_request(
                    headers[IDENTITY],
                    "POST",
                    f"/{SERVICE}/{name}",
                    refused.status,
                    started_s,
                    {"error": refused.code},
                )
            await _echo(headers, context)
            await context.abort(StatusCode[refused.grpc_status], refused.detail)
        await _echo(answer.headers, context)
        if answer.is_error and not _is_unready(answer):
            status = GRPC_STATUS.get(answer.status_code, "INTERNAL")
            await context.abort(StatusCode[status], _detail(answer))
        return write_answer(name, answer.content, answer.headers.get(HEADER))

    async def _ask(self, call: RestCall, headers: dict[str, str]) -> httpx.Response:
        return await self._client.request(
            call.method, call.path, content=call.body, headers=headers | call.headers
        )

    async def _read(self, name: str, headers: dict[str, str], context: Context) -> bytes:
        """The message; b"" if the server will refuse the call. Raises BodyTimeout, BodiesFull or
        MalformedRequest.
        """
        scope: Scope = "predict" if name == INFER else "read"
        timeout_s = self._settings.body_timeout_s
        try:
            if name not in OPEN_CALLS:
                self._access.check_token(headers.get("authorization", "").encode(), scope)
            async with (
                self.bodies.hold(self._settings.max_body_bytes, arrived=True),
                asyncio.timeout(timeout_s),
            ):
                data = await context.read()
        except ServingError:
            return b""
        except TimeoutError:
            raise BodyTimeout(
                f"the message did not arrive within {timeout_s:g} s; send it again, in one go."
            ) from None
        if data is grpc.aio.EOF:
            raise MalformedRequest("the call holds no message.")
        return bytes(data)


async def _echo(headers: Mapping[str, str], context: Context) -> None:
    if identity := headers.get(IDENTITY):
        await context.send_initial_metadata(((IDENTITY, identity),))


def _is_unready(answer: httpx.Response) -> bool:
    """Whether it says so in the protocol's words, which are no error in gRPC."""
    return answer.status_code == 503 and b'"ready"' in answer.content


def _detail(answer: httpx.Response) -> str:
    with suppress(msgspec.MsgspecError):
        said = msgspec.json.decode(answer.content, type=dict[str, str])
        return said.get("detail") or said["error"]
    return f"the server answered {answer.status_code}."


def _headers(context: Context) -> dict[str, str]:
    """Metadata as HTTP headers; the call's deadline counts as one."""
    headers = {
        name: value
        for name, value in context.invocation_metadata() or ()
        if name.startswith(PASSED) and isinstance(value, str)
    }
    headers["x-forwarded-for"] = _address(context.peer())
    left_s = context.time_remaining()
    if left_s is not None:
        with suppress(ValueError):
            left_s = min(left_s, float(headers.get(DEADLINE, left_s)))
            headers[DEADLINE] = str(max(left_s, 1e-3))
    return headers


def _address(peer: str) -> str:
    """The address in what grpc calls a peer.

    >>> _address("ipv4:10.0.0.1:4000"), _address("ipv6:%5B::1%5D:4000")
    ('10.0.0.1', '::1')
    """
    return unquote(peer.partition(":")[2].rpartition(":")[0]).strip("[]")


async def start_grpc(
    service: RpcService, settings: Settings, *, tls: tuple[Path, Path] | None = None
) -> tuple[grpc.aio.Server, int]:
    """A running server on `settings.grpc_port`, and its port. Raises ListenError.

    `tls` are the files of the certificate chain and of its key; None: plain text.
    """
    limit = settings.max_body_bytes
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
            ("grpc.max_concurrent_streams", STREAMS),
        ]
    )
    server.add_generic_rpc_handlers((service.handlers(),))
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        port = _add_port(server, f"{host}:{settings.grpc_port}", tls)
    except (RuntimeError, OSError) as error:
        raise ListenError(
            f"cannot listen on {host}:{settings.grpc_port} for gRPC: {error}. Choose another "
            "CANDOR_GRPC_PORT."
        ) from error
    await server.start()
    return server, port


def _add_port(server: Any, address: str, tls: tuple[Path, Path] | None) -> int:
    if tls is None:
        return int(server.add_insecure_port(address))
    certificate, key = tls
    pair = (key.read_bytes(), certificate.read_bytes())
    return int(server.add_secure_port(address, grpc.ssl_server_credentials([pair])))
