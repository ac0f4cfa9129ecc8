"""Access: what each scope opens, which pages may write, and that no sentence gives a token away."""

from functools import partial
from pathlib import Path
from typing import Literal

import pytest
from pydantic import SecretStr

from hosting.auth import AccessControl, NeededScopes, OwnHosts, read_access
from hosting.errors import CrossOrigin, Forbidden, SettingsError, Unauthorized, UnknownHost
from hosting.settings import Settings
from hosting.tokens import read_grants
from monitoring.http.endpoint import Endpoint, Scope
from serving.process.routes import ServerRoutes
from serving.process.server import ENDPOINTS

PREDICT, READ, ADMIN = "p" * 32, "r" * 32, "a" * 32
TEXT = f"{PREDICT} predict,feedback; {READ} read;{ADMIN} admin"


ASGI = {"type": "http", "http_version": "1.0", "query_string": b""}


def granting(text: str, file: Path | None = None) -> AccessControl:
    return AccessControl(
        read_grants(text, file), endpoints=ENDPOINTS, hosts=OwnHosts("candor.example")
    )


def ask(
    access: AccessControl, method: str, path: str, token: str | None, kind: str = "Bearer"
) -> None:
    headers = [] if token is None else [(b"authorization", f"{kind} {token}".encode())]
    access.check(ASGI | {"method": method, "path": path, "headers": headers})


ALLOWED = [
    (PREDICT, "POST", "/predictions/m"),
    (PREDICT, "POST", "/predictions/m/3"),
    (PREDICT, "PUT", "/predictions/m/"),
    (PREDICT, "POST", "/predictions/m/3/more"),
    (PREDICT, "POST", "/v2/models/m/infer"),
    (PREDICT, "POST", "/v2/models/m/versions/3/infer"),
    (PREDICT, "POST", "/feedback"),
    (PREDICT, "POST", "/feedback/"),
    (PREDICT, "POST", "/predictions-log"),
    (READ, "GET", "/metrics"),
    (READ, "HEAD", "/"),
    (READ, "GET", "/unknown"),
    (READ, "GET", "/models/m/report"),
    (READ, "GET", "/v2/models/m"),
]


def test_a_scope_opens_its_own_and_admin_everything() -> None:
    access = granting(TEXT)
    for token, method, path in ALLOWED:
        ask(access, method, path, token)
        ask(access, method, path, token, kind="bearer")
        ask(access, method, path, ADMIN)
        with pytest.raises(Forbidden):
            ask(access, method, path, READ if token == PREDICT else PREDICT)
        for unknown in (None, "", "x" * 32, token[:-1], token + token):
            with pytest.raises(Unauthorized):
                ask(access, method, path, unknown)
        with pytest.raises(Unauthorized):
            ask(access, method, path, token, kind="Basic")


def test_what_changes_anything_else_needs_admin_and_health_no_token() -> None:
    access = granting(TEXT)
    for method, path in (
        ("POST", "/models/m/report/acknowledge"),
        ("POST", "/unknown"),
        ("PUT", "/x"),
    ):
        ask(access, method, path, ADMIN)
        for token in (READ, PREDICT):
            with pytest.raises(Forbidden):
                ask(access, method, path, token)
    for path in ("/healthz", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready"):
        ask(access, "GET", path, None)
        ask(access, "POST", path, None)  # the router refuses the method


def declared(method: Literal["GET", "POST"], path: str, scope: Scope | None) -> Endpoint:
    return Endpoint(
        method=method, path=path, handler=ServerRoutes.ping, tag="", summary="", scope=scope
    )


def test_an_endpoint_needs_the_scope_that_it_declares_and_nothing_else_does() -> None:
    endpoints = [
        declared("POST", "/notes/{model}", "feedback"),
        declared("GET", "/notes/{model}", "predict"),
        declared("GET", "/secrets", "admin"),
        declared("GET", "/open", None),
        declared("POST", "/open", "feedback"),
    ]
    needed = NeededScopes(endpoints)
    assert [needed.find(each.method, each.path.format(model="m")) for each in endpoints] == [
        each.scope for each in endpoints
    ]
    assert needed.find("POST", "/notes/m/more") == needed.find("POST", "/secrets") == "admin"
    assert needed.find("GET", "/notes") == "read"


def test_an_endpoint_that_forgets_its_scope_cannot_be_declared() -> None:
    with pytest.raises(TypeError, match="scope"):
        partial(Endpoint, method="GET", path="/a", handler=ServerRoutes.ping, tag="")()


def test_of_two_endpoints_that_match_the_first_counts_as_in_a_router() -> None:
    endpoints = [declared("GET", "/notes/{model}", "admin"), declared("GET", "/notes/open", None)]
    assert NeededScopes(endpoints).find("GET", "/notes/open") == "admin"


def test_a_file_may_have_comments_and_adds_to_the_text(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# the gateway\n\n{READ} read\n")
    access = granting(f"{PREDICT} predict", file)
    ask(access, "GET", "/metrics", READ)
    ask(access, "POST", "/predictions/m", PREDICT)


def test_bad_tokens_stop_the_start_and_are_not_told(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    wrong = ("", " write", " read a name", " read,", "ä read", f" read; {READ} admin")
    for text in ("", ";", "short read", *(READ + end for end in (*wrong, f" read {'n' * 101}"))):
        file.write_text(text)
        with pytest.raises(SettingsError) as told:
            read_grants(None, file)
        assert READ not in str(told.value)
    with pytest.raises(SettingsError):
        read_grants(None, tmp_path / "missing")
    for empty in ("", " ", ";", "# none"):
        with pytest.raises(SettingsError):
            read_access(Settings(tokens=SecretStr(empty)), ENDPOINTS)


HERE = OwnHosts("candor.example")
OWN, LISTED = "https://candor.example:8080", "https://viewer.example"
FROM_HERE = [{}, {"origin": OWN}, {"origin": "http://CANDOR.example:8080"}, {"origin": LISTED}]
NOT_CROSS = [{"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}]
LISTED_THOUGH_CROSS = [{"origin": LISTED, "sec-fetch-site": "cross-site"}]
FROM_ELSEWHERE = [
    {"origin": "https://evil.example"},
    {"origin": "https://candor.example"},  # another port is another origin
    {"origin": "https://viewer.example.evil.example"},
    {"origin": "null"},
    {"origin": ""},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},  # another host name, or another port of this one
    {"origin": OWN, "sec-fetch-site": "same-site"},
    {"origin": "null", "sec-fetch-site": "same-origin"},
]


def send(access: AccessControl, headers: dict[str, str], method: str = "POST") -> None:
    given = {"host": "candor.example:8080", "x-request-id": "1"} | headers
    pairs = [(name.encode(), value.encode()) for name, value in given.items()]
    access.check(ASGI | {"method": method, "path": "/feedback", "headers": pairs})


CHANGING = ("POST", "PUT", "DELETE", "PATCH")


def test_programs_own_pages_and_listed_pages_may_write() -> None:
    access = AccessControl(hosts=HERE, origins=[LISTED])
    for headers in (*FROM_HERE, *NOT_CROSS, *LISTED_THOUGH_CROSS):
        for method in CHANGING:
            send(access, headers, method)


def test_pages_of_other_origins_may_not_write_but_read_or_pass_a_star() -> None:
    access = AccessControl(hosts=HERE, origins=[LISTED])
    for headers in FROM_ELSEWHERE:
        for method in CHANGING:
            with pytest.raises(CrossOrigin):
                send(access, headers, method)
        send(AccessControl(hosts=HERE), headers, "GET")
        send(AccessControl(hosts=HERE, origins=["*"]), headers, "POST")


def test_a_token_does_not_stand_in_for_the_origin() -> None:
    access = granting(f"{ADMIN} admin")
    send(access, {"authorization": f"Bearer {ADMIN}", "origin": OWN})
    with pytest.raises(CrossOrigin):
        send(access, {"authorization": f"Bearer {ADMIN}", "origin": "https://evil.example"})


def test_the_request_carries_the_name_of_its_token() -> None:
    access = granting(f"{ADMIN} admin dr-weber; {READ} read")
    for token, name, path in ((ADMIN, "dr-weber", "/feedback"), (READ, "token 2", "/metrics")):
        request = ASGI | {"method": "POST" if token == ADMIN else "GET", "path": path}
        headers = [(b"authorization", f"Bearer {token}".encode())]
        access.check(request | {"headers": headers, "state": (state := {})})
        viewer = state["viewer"]
        assert viewer.name == name
        assert [
            scope for scope in ("predict", "feedback", "read", "admin") if viewer.may(scope)
        ] == (["read"] if token == READ else ["predict", "feedback", "read", "admin"])
        assert not viewer.signed_in


def test_a_name_that_is_not_its_own_is_refused() -> None:
    strange = ("evil.example", "127.0.0.1.evil.example:8080", "candor.example.evil")
    for host in (*strange, "1.2.3.4.5", "a.b"):
        for method in ("GET", "POST"):
            with pytest.raises(UnknownHost):
                send(AccessControl(hosts=HERE), {"host": host}, method)


def test_its_own_names_addresses_and_names_without_a_dot_pass() -> None:
    own, access = (
        ("candor.example", "CANDOR.example.:1", "localhost:8080"),
        AccessControl(hosts=HERE),
    )
    for host in (*own, "127.0.0.1", "[::1]:80", "10.1.2.3", "candor", ""):
        for _ in range(2):
            send(access, {"host": host})
    send(AccessControl(hosts=OwnHosts(".hospital.example")), {"host": "ward.hospital.example"})
    send(AccessControl(hosts=OwnHosts("*")), {"host": "evil.example"})


def test_a_page_that_names_this_address_after_itself_may_not_write() -> None:
    """DNS rebinding: the browser takes two sites for one; origin and host agree."""
    rebound = {
        "host": "evil.example:8080",
        "origin": "http://evil.example:8080",
        "sec-fetch-site": "same-origin",
    }
    with pytest.raises(UnknownHost):
        send(AccessControl(), rebound)


def test_health_checks_may_use_any_name() -> None:
    headers = [(b"host", b"probe.example")]
    AccessControl(endpoints=ENDPOINTS).check(
        ASGI | {"method": "GET", "path": "/healthz", "headers": headers}
    )
