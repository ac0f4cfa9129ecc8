"""Trials and signing in, through ASGI: what is recorded, what is refused, and what stays inert."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from hosting import token_file
from hosting.auth import AccessControl
from hosting.tokens import LIFETIME_S, is_session_of, new_session, read_grants
from model_store.store.samples import Sample, write_samples
from model_store.store.store import Store
from monitoring.ledger.database import Ledger
from monitoring.ledger.ended_sessions import EndedSessions
from tests.builders.bundles import png
from tests.builders.dicoms import dicom
from tests.builders.services import PAGE, Running, ledger_rows, running, until

pytestmark = pytest.mark.anyio
TRY = "/try/tiny"
AS_OF = r"as of <time.*?</time>"  # the second at which a page was made
TRIAL = '<section class="card trial'
WINDOWED = np.array([[-1000, 40], [80, 3000]], np.int16)
READER, PREDICTOR = "a-token-for-reading", "a-token-for-trying"
FOREIGN = {"origin": "https://elsewhere.example"} | PAGE


@pytest.fixture
async def guarded(tiny_store: Store, tmp_path: Path) -> AsyncIterator[Running]:
    tokens = SecretStr(f"{READER} read mary; {PREDICTOR} read,predict tom")
    async with running(tiny_store, tmp_path, tokens=tokens) as started:
        yield started


def recorded(server: Running) -> int:
    return len(ledger_rows(server.folder, "SELECT 1 FROM prediction"))


def assets(page: str) -> list[str]:
    return [part.split('"')[0] for part in page.split('"/static/')[1:]]


async def test_a_trial_is_answered_as_a_prediction_and_recorded_only_if_its_form_says_so(
    server: Running,
) -> None:
    answer = (await server.predict(png())).json()
    labels = {"model": "tiny", "version": "1", "label": answer["predicted"]}
    served = server.counted("candor_predictions_total", **labels)
    files = {"file": ("<b>.png", png())}
    page = (await server.client.post(TRY, files=files, headers=PAGE)).text
    assert "too few to say how often" in page or "No label of such answers" in page
    assert f'{TRIAL} early" data-file="0">' in page  # nothing bears it out yet
    assert "<b>.png" not in page
    assert "&lt;b&gt;.png" in page
    assert recorded(server) == 1  # the prediction
    assert server.counted("candor_predictions_total", **labels) == served
    form = {"record": "yes", "tags": "site=A"}
    await server.client.post(TRY, files=files, data=form, headers=PAGE)
    assert recorded(server) == 2
    (tagged,) = (await server.client.get("/models/tiny/answers?site=A")).json()["answers"]
    assert tagged["tags"] == {"site": "A"}
    refused = await server.client.post(TRY, files=files, data={"tags": "site"}, headers=PAGE)
    assert refused.status_code == 400


async def test_a_viewer_gets_the_values_of_an_image_and_nothing_is_recorded(
    server: Running,
) -> None:
    data = dicom(WINDOWED, WindowCenter=40, WindowWidth=80)

    async def view(content: bytes, kind: str, model: str = "tiny") -> tuple[int, dict[str, object]]:
        headers = {"content-type": kind}
        answer = await server.client.post(f"/try/{model}/view", content=content, headers=headers)
        return answer.status_code, answer.json()

    _, found = await view(data, "application/dicom")
    samples = np.frombuffer(base64.b64decode(str(found["samples"])), "<u2").reshape(2, 2)
    np.testing.assert_array_equal(found["offset"] + found["slope"] * samples, WINDOWED)
    assert (found["center"], found["window"], found["channels"], found["reduced"]) == (40, 80, 1, 1)
    assert recorded(server) == 0
    status, refused = await view(b"none", "image/png")
    assert (status, refused["error"]) == (415, "not_an_image")
    assert (await view(data, "application/dicom", "none"))[0] == 404


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"x", "text/plain", 415),
        (b"[]", "application/json", 400),
        (b"none", "multipart/form-data; boundary=b", 400),
        (b"--b--\r\n", "multipart/form-data; boundary=b", 200),
    ],
)
async def test_what_is_not_the_form_is_refused_with_a_page(
    server: Running, content: bytes, kind: str, status: int
) -> None:
    headers = PAGE | {"content-type": kind}
    answer = await server.client.post(TRY, content=content, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")


async def test_signing_in_opens_what_the_token_grants_and_no_more(guarded: Running) -> None:
    client, files = guarded.client, {"file": ("a.png", png())}
    shut = await client.get(TRY, headers=PAGE)
    assert shut.status_code == 401
    assert f'action="/sign-in?next={TRY}"' in shut.text
    wrong = await client.post(f"/sign-in?next={TRY}", data={"token": "wrong"}, headers=PAGE)
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
    entered = await client.post(f"/sign-in?next={TRY}", data={"token": PREDICTOR})
    assert (entered.status_code, entered.headers["location"]) == (303, TRY)
    cookie = entered.headers["set-cookie"]
    assert PREDICTOR not in cookie
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert (await client.get(TRY, headers=PAGE)).status_code == 200
    assert (await client.post(TRY, files=files, headers=PAGE)).status_code == 200
    assert (await client.post(TRY, files=files, headers=FOREIGN)).status_code == 403
    assert (await client.post("/sign-out", headers=FOREIGN)).status_code == 403
    assert (await client.post("/models/tiny/report/acknowledge")).status_code == 403  # admin
    left = await client.post("/sign-out")
    assert left.headers["location"] == "/sign-in"
    assert (await client.get(TRY, headers=PAGE)).status_code == 401


async def test_a_session_that_was_ended_elsewhere_is_soon_over_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_file, "SESSIONS_S", 0.01)
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        here, there = (
            AccessControl(read_grants(f"{READER} read mary", None), ended=EndedSessions(ledger))
            for _ in range(2)
        )
        following = asyncio.create_task(token_file.keep_sessions(here))
        cookie = f"candor_session={there.sign_in(READER)}".encode()
        assert here.signed_in(cookie)
        there.sign_out(cookie)
        await until(lambda: here.signed_in(cookie) is None)
        following.cancel()


async def test_a_reader_is_offered_nothing_that_is_then_refused(guarded: Running) -> None:
    seen, waiting = set[str](), ["/versions/tiny", "/"]
    while waiting:
        path = waiting.pop()
        if path.split("?")[0] in seen or "/file" in path:
            continue
        seen.add(path.split("?")[0])
        page = await guarded.page(path, PAGE | {"authorization": f"Bearer {READER}"})
        forms = re.findall(r'<form[^>]*method="post"[^>]*>', page)
        assert [each for each in forms if "/sign-" not in each] == [], path
        waiting += [unescape(each) for each in re.findall(r'<a [^>]*href="(/[^"]*)"', page)]
    assert {"/", "/docs", "/versions/tiny", "/models/tiny/report/page"} <= seen


@pytest.mark.parametrize(
    "where", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nset-cookie: x"]
)
async def test_signing_in_leads_to_this_server_only(guarded: Running, where: str) -> None:
    entered = await guarded.client.post("/sign-in", params={"next": where}, data={"token": READER})
    assert (entered.status_code, entered.headers["location"]) == (303, "/")


async def test_pages_load_only_compressed_files_of_this_release(server: Running) -> None:
    page = await server.client.get("/", headers=PAGE)
    assert (page.headers["content-encoding"], page.headers["cache-control"]) == ("gzip", "no-store")
    assert len(assets(page.text)) >= 2
    for name in assets(page.text):
        found = await server.client.get(f"/static/{name}")
        assert (found.status_code, found.headers["content-encoding"]) == (200, "gzip")
        assert found.headers["cache-control"] == "public, max-age=31536000, immutable"
    for name in ("none", "style.css", "..%2f..%2fpyproject.toml", "console.000000000000.js"):
        assert (await server.client.get(f"/static/{name}")).status_code == 404
    plain = await server.client.get("/", headers=PAGE | {"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert assets(plain.text) == assets(page.text)  # pages say the second
    for_programs = await server.client.get("/models/tiny/report")
    assert "content-encoding" not in for_programs.headers


async def test_times_are_in_the_zone_that_the_browser_names(server: Running) -> None:
    await server.predict(png())
    for cookie, zone in (
        ("candor_zone=Asia/Tokyo", "JST"),
        ("candor_zone=America/Bogota", "UTC-05"),
        *((f"candor_zone={odd}", "UTC") for odd in ("../../etc/passwd", "Europe", '"; x=\\')),
    ):
        page = await server.page("/label/tiny", PAGE | {"cookie": cookie})
        assert re.search(rf'<time datetime="[0-9T:-]+Z"[^>]*>[0-9-]+ [0-9:]+ {zone}</time>', page)


async def test_a_page_that_is_not_asked_for_by_name_is_the_same_page(server: Running) -> None:
    anything = {"accept": "*/*"}
    for path in ("/label/tiny", TRY, "/sign-in"):
        one, other = [await server.page(path, each) for each in (anything, PAGE)]
        assert re.sub(AS_OF, "", one) == re.sub(AS_OF, "", other)
    nowhere = await server.client.get("/nowhere", headers=anything)
    assert nowhere.json()["error"] == "unknown_path"


def test_a_session_ends_and_belongs_to_its_token() -> None:
    session = new_session(b"digest", now_s=1_000.0)
    assert is_session_of(b"digest", session, now_s=1_000.0 + LIFETIME_S - 1)
    assert not is_session_of(b"digest", session, now_s=1_000.0 + LIFETIME_S + 1)
    assert not is_session_of(b"another", session, now_s=1_000.0)
    until, _, mac = session.partition(".")
    for forged in (f"{int(until) + 1}.{mac}", f"{until}.", f".{mac}", "", "a.b", f"{until}.é"):
        assert not is_session_of(b"digest", forged, now_s=1_000.0)


async def test_a_sample_image_of_the_model_is_tried_with_one_click(
    server: Running, tiny_store: Store
) -> None:
    assert 'name="sample"' not in await server.page(TRY, PAGE)
    write_samples(tiny_store.storage, "tiny", [Sample("<b>one", png(1)), Sample("two", b"none")])
    page = await server.page(TRY, PAGE)
    assert 'name="sample" value="&lt;b&gt;one" formnovalidate>' in page
    (picture,) = re.findall(r'src="(/try/tiny/samples/[^"]*one)"', page)
    assert (await server.client.get(picture)).headers["content-type"] == "image/png"
    assert (await server.client.get("/try/tiny/samples/two")).status_code == 415
    for name, status in (("<b>one", 200), ("two", 415), ("three", 400)):
        viewed = await server.client.post("/try/tiny/view", params={"sample": name})
        assert viewed.status_code == status
    for name, words in (
        *(("<b>one", "such answers"), ("two", "two: no answer")),
        ("three", "three: no answer"),
    ):
        form = {"sample": (None, name), "file": ("", b"")}
        tried = (await server.client.post(TRY, files=form, headers=PAGE)).text
        assert words in tried
        assert tried.count(TRIAL) == 1
    assert recorded(server) == 0
    (tiny_store.root / "tiny" / "samples.zip").write_bytes(b"no archive")
    await server.page(TRY, PAGE)
