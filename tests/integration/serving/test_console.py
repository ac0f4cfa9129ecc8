"""Trials and signing in, through ASGI: what is recorded, what is refused, and what stays inert."""

import base64
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from model_store.store.samples import Sample, write_samples
from model_store.store.store import Store
from monitoring.ledger.database import Ledger
from serving.http.tokens import LIFETIME_S, is_session_of, new_session
from tests.builders.dicoms import dicom
from tests.builders.services import Running, running

pytestmark = pytest.mark.anyio
PAGE = {"accept": "text/html,application/xhtml+xml"}
WINDOWED = np.array([[-1000, 40], [80, 3000]], np.int16)
READER, PREDICTOR = "a-token-for-reading", "a-token-for-trying"


@pytest.fixture
async def server(tiny_store: Store, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tiny_store, tmp_path) as started:
        yield started


@pytest.fixture
async def guarded(tiny_store: Store, tmp_path: Path) -> AsyncIterator[Running]:
    tokens = SecretStr(f"{READER} read mary; {PREDICTOR} read,predict tom")
    async with running(tiny_store, tmp_path, tokens=tokens) as started:
        yield started


def recorded(folder: Path) -> int:
    with Ledger(f"sqlite:///{folder / 'ledger.db'}") as ledger, ledger.read() as connection:
        return connection.execute(text("select count(*) from prediction")).scalar_one()


async def test_a_trial_is_answered_as_a_prediction_and_recorded_nowhere(
    server: Running, tmp_path: Path, png: Callable[..., bytes]
) -> None:
    answer = (await server.predict(png())).json()
    served = server.counted(
        "candor_predictions_total", model="tiny", version="1", label=answer["predicted"]
    )
    page = await server.client.post("/try/tiny", files={"file": ("<b>.png", png())}, headers=PAGE)
    assert page.status_code == 200
    assert f"The model says “{answer['predicted']}”" in page.text
    assert "Not recorded." in page.text
    assert "No labels yet" in page.text  # how the version stands today
    assert (
        '<section class="card trial early" data-file="0">' in page.text
    )  # nothing bears it out yet
    assert "<b>.png" not in page.text
    assert "&lt;b&gt;.png" in page.text
    assert recorded(tmp_path) == 1  # the prediction
    assert (
        server.counted(
            "candor_predictions_total", model="tiny", version="1", label=answer["predicted"]
        )
        == served
    )


async def test_a_trial_is_recorded_if_its_form_says_so(
    server: Running, tmp_path: Path, png: Callable[..., bytes]
) -> None:
    page = await server.client.post(
        "/try/tiny", files={"file": ("a.png", png())}, data={"record": "yes"}, headers=PAGE
    )
    assert "Recorded as answer" in page.text
    assert recorded(tmp_path) == 1


async def test_a_bad_image_among_good_ones_gets_a_sentence_in_its_place(
    server: Running, png: Callable[..., bytes]
) -> None:
    files = [
        ("file", ("good.png", png())),
        ("file", ("bad.png", b"none")),
        ("file", ("empty.png", b"")),
    ]
    page = (await server.client.post("/try/tiny", files=files, headers=PAGE)).text
    assert page.count('<section class="card trial') == 3
    assert "bad.png: no answer" in page
    assert "empty.png: no answer" in page


async def test_a_viewer_gets_the_values_of_an_image_and_nothing_is_recorded(
    server: Running, tmp_path: Path
) -> None:
    data = dicom(WINDOWED, WindowCenter=40, WindowWidth=80)
    answer = await server.client.post(
        "/try/tiny/view", content=data, headers={"content-type": "application/dicom"}
    )
    found = answer.json()
    samples = np.frombuffer(base64.b64decode(found["samples"]), "<u2").reshape(2, 2)
    np.testing.assert_array_equal(found["offset"] + found["slope"] * samples, WINDOWED)
    assert (found["center"], found["window"], found["channels"], found["reduced"]) == (40, 80, 1, 1)
    assert recorded(tmp_path) == 0
    refused = await server.client.post(
        "/try/tiny/view", content=b"none", headers={"content-type": "image/png"}
    )
    assert (refused.status_code, refused.json()["error"]) == (415, "not_an_image")
    assert (await server.client.post("/try/none/view", content=data)).status_code == 404


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
    answer = await server.client.post(
        "/try/tiny", content=content, headers=PAGE | {"content-type": kind}
    )
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")


async def test_errors_are_pages_for_a_browser_and_json_for_programs(server: Running) -> None:
    for path, status in (("/nowhere", 404), ("/try/none", 404), ("/models/none/report/page", 404)):
        page, body = await server.client.get(path, headers=PAGE), await server.client.get(path)
        assert (page.status_code, body.status_code) == (status, status)
        assert page.headers["content-type"].startswith("text/html")
        assert body.json()["detail"][1:] in page.text.replace("&#39;", "'").replace("&#34;", '"')
    refused = await server.client.get("/models/tiny/report/page?window=week", headers=PAGE)
    assert (refused.status_code, "<h1>This cannot be taken</h1>" in refused.text) == (422, True)


async def test_signing_in_opens_what_the_token_grants_and_no_more(
    guarded: Running, png: Callable[..., bytes]
) -> None:
    client = guarded.client
    shut = await client.get("/try/tiny", headers=PAGE)
    assert shut.status_code == 401
    assert 'action="/sign-in?next=/try/tiny"' in shut.text
    wrong = await client.post("/sign-in?next=/try/tiny", data={"token": "wrong"}, headers=PAGE)
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
    entered = await client.post("/sign-in?next=/try/tiny", data={"token": PREDICTOR})
    assert (entered.status_code, entered.headers["location"]) == (303, "/try/tiny")
    cookie = entered.headers["set-cookie"]
    assert PREDICTOR not in cookie
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert (await client.get("/try/tiny", headers=PAGE)).status_code == 200
    assert (
        await client.post("/try/tiny", files={"file": ("a.png", png())}, headers=PAGE)
    ).status_code == 200
    acknowledged = await client.post("/models/tiny/report/acknowledge")
    assert acknowledged.status_code == 403  # admin
    left = await client.post("/sign-out")
    assert left.headers["location"] == "/sign-in"
    assert (await client.get("/try/tiny", headers=PAGE)).status_code == 401


async def test_a_session_does_not_let_another_site_act(
    guarded: Running, png: Callable[..., bytes]
) -> None:
    await guarded.client.post("/sign-in", data={"token": PREDICTOR})
    foreign = {"origin": "https://elsewhere.example"} | PAGE
    refused = await guarded.client.post(
        "/try/tiny", files={"file": ("a.png", png())}, headers=foreign
    )
    assert refused.status_code == 403
    assert (await guarded.client.post("/sign-out", headers=foreign)).status_code == 403


@pytest.mark.parametrize(
    "where", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nset-cookie: x"]
)
async def test_signing_in_leads_to_this_server_only(guarded: Running, where: str) -> None:
    entered = await guarded.client.post("/sign-in", params={"next": where}, data={"token": READER})
    assert (entered.status_code, entered.headers["location"]) == (303, "/")


async def test_pages_load_only_files_of_this_release(server: Running) -> None:
    page = (await server.client.get("/")).text
    assets = [part.split('"')[0] for part in page.split('"/static/')[1:]]
    assert len(assets) >= 2
    for name in assets:
        found = await server.client.get(f"/static/{name}")
        assert found.status_code == 200
        assert "immutable" in found.headers["cache-control"]
    for name in ("none", "style.css", "..%2f..%2fpyproject.toml", "console.000000000000.js"):
        assert (await server.client.get(f"/static/{name}")).status_code == 404


async def test_pages_and_their_files_are_compressed_and_kept_as_long_as_they_may(
    server: Running,
) -> None:
    page = await server.client.get("/", headers=PAGE)
    assert (page.headers["content-encoding"], page.headers["cache-control"]) == ("gzip", "no-store")
    for name in (part.split('"')[0] for part in page.text.split('"/static/')[1:]):
        found = await server.client.get(f"/static/{name}")
        assert found.headers["content-encoding"] == "gzip"
        assert found.headers["cache-control"] == "public, max-age=31536000, immutable"
    plain = await server.client.get("/", headers=PAGE | {"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.text == page.text
    assert (
        "content-encoding" not in (await server.client.get("/models/tiny/report")).headers
    )  # for programs


async def test_times_are_in_the_zone_that_the_reader_chose(
    server: Running, png: Callable[..., bytes]
) -> None:
    await server.predict(png())
    of_browser = PAGE | {"cookie": "candor_zone=Asia/Tokyo"}
    chosen = PAGE | {"cookie": "candor_zone=Asia/Tokyo; candor_chosen_zone=America/Bogota"}
    for headers, zone in ((of_browser, "JST"), (chosen, "UTC-05")):
        page = await server.client.get("/label/tiny", headers=headers)
        time = rf'<time datetime="[0-9T:-]+Z" title="[0-9 :-]+ UTC">[0-9-]+ [0-9:]+ {zone}</time>'
        assert re.search(time, page.text), zone


async def test_a_page_that_is_not_asked_for_by_name_is_the_same_page(server: Running) -> None:
    plain = {"accept-encoding": "identity"}
    for path in ("/label/tiny", "/try/tiny", "/sign-in"):
        page = await server.client.get(path, headers=PAGE | plain)
        fetched = await server.client.get(path, headers={"accept": "*/*"} | plain)
        assert fetched.text == page.text
    nowhere = await server.client.get("/nowhere", headers={"accept": "*/*"} | plain)
    assert nowhere.json()["error"] == "unknown_path"


async def test_odd_cookies_and_headers_only_cost_the_reader_their_wishes(server: Running) -> None:
    for cookie in ("candor_zone=../../etc/passwd", "candor_zone=Europe", 'candor_zone="; x=\\'):
        page = await server.client.get("/", headers=PAGE | {"cookie": cookie})
        assert page.status_code == 200, cookie


def test_a_session_ends_and_belongs_to_its_token() -> None:
    session = new_session(b"digest", now_s=1_000.0)
    assert is_session_of(b"digest", session, now_s=1_000.0 + LIFETIME_S - 1)
    assert not is_session_of(b"digest", session, now_s=1_000.0 + LIFETIME_S + 1)
    assert not is_session_of(b"another", session, now_s=1_000.0)
    until, _, mac = session.partition(".")
    for forged in (f"{int(until) + 1}.{mac}", f"{until}.", f".{mac}", "", "a.b", f"{until}.é"):
        assert not is_session_of(b"digest", forged, now_s=1_000.0)


async def test_a_sample_image_of_the_model_is_tried_with_one_click(
    server: Running, tiny_store: Store, tmp_path: Path, png: Callable[..., bytes]
) -> None:
    assert 'name="sample"' not in (await server.client.get("/try/tiny", headers=PAGE)).text
    write_samples(tiny_store.storage, "tiny", [Sample("<b>one", png(1)), Sample("two", b"none")])
    page = (await server.client.get("/try/tiny", headers=PAGE)).text
    assert 'name="sample" value="&lt;b&gt;one" formnovalidate>' in page
    for name, words in (
        ("<b>one", "The model says"),
        ("two", "two: no answer"),
        ("three", "three: no answer"),
    ):
        form = {"sample": (None, name), "file": ("", b"")}
        tried = await server.client.post("/try/tiny", files=form, headers=PAGE)
        assert tried.status_code == 200
        assert words in tried.text
        assert tried.text.count('<section class="card trial') == 1
    assert recorded(tmp_path) == 0
    (tiny_store.root / "tiny" / "samples.zip").write_bytes(b"no archive")
    assert (await server.client.get("/try/tiny", headers=PAGE)).status_code == 200
