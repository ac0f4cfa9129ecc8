"""Sessions that people ended, and tokens that somebody guesses, over real sockets."""

import json
import threading
import time
from pathlib import Path

import httpx

from model_store.store.store import Store
from tests.builders.bundles import png
from tests.builders.processes import wait_until
from tests.builders.servers import Load, Server

TOKEN = "a-token-for-reading"
SETTINGS = {"tokens": f"{TOKEN} read,predict mary"}


def status(server: Server, cookie: str) -> int:
    return httpx.get(f"{server.url}/", headers={"cookie": cookie}).status_code


def test_a_session_that_was_ended_opens_no_server_of_its_ledger(
    tiny_store: Store, tmp_path: Path
) -> None:
    first = Server(tiny_store.root, tmp_path, **SETTINGS).await_ready()
    (tmp_path / "second").mkdir()
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    second = Server(tiny_store.root, tmp_path / "second", ledger=ledger, **SETTINGS).await_ready()
    cookies = []
    for pause_s in (0, 1):  # else both were one session
        time.sleep(pause_s)
        entered = httpx.post(f"{first.url}/sign-in", data={"token": TOKEN})
        cookies.append(entered.headers["set-cookie"].partition(";")[0])
    stays, ends = cookies
    assert [status(each, cookie) for each in (first, second) for cookie in cookies] == [200] * 4
    assert httpx.post(f"{first.url}/sign-out", headers={"cookie": ends}).status_code == 303
    assert status(first, ends) == 401
    wait_until(lambda: status(second, ends) == 401, "the other server to know")
    assert [status(each, stays) for each in (first, second)] == [200, 200]
    first.stop()
    first = Server(tiny_store.root, tmp_path, **SETTINGS).await_ready()
    assert (status(first, ends), status(first, stays)) == (401, 200)
    first.stop()
    second.stop()


def test_wrong_tokens_are_refused_and_counted_in_the_log(tiny_store: Store, tmp_path: Path) -> None:
    server = Server(tiny_store.root, tmp_path, **SETTINGS).await_ready()
    codes: list[int] = []
    lock = threading.Lock()

    def guess(client: httpx.Client) -> None:
        wrong = {"authorization": "Bearer a-token-that-is-wrong"}
        asked = client.get("/metrics", headers=wrong)
        form = client.post("/sign-in", data={"token": "wrong"}, headers={"accept": "text/html"})
        with lock:
            codes.extend((asked.status_code, form.status_code))

    with Load(server, guess, threads=8):
        wait_until(lambda: len(codes) >= 26)
        assert server.predict(png(), authorization=f"Bearer {TOKEN}").status_code == 200
    server.end()  # writes what lines still count
    server.stop()
    assert set(codes) == {401}
    lines = [json.loads(line) for line in server.log().splitlines()]
    told = [line for line in lines if line["message"] == "request refused"]
    assert sum(line.get("count", 1) for line in told) >= 26
