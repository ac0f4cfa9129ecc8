"""Files of several frames by every way: chosen ones are answered, counted, recorded."""

import asyncio
import base64
import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from model_store.store.store import Store
from serving.client import ServerRefused
from serving.inference.predictor import Predictor
from tests.builders.asgi import client_in_loop
from tests.builders.dicoms import dicom, dicom_stack
from tests.builders.processes import candor_here
from tests.builders.services import ledger_rows, refusal, running
from tests.builders.tensors import bytes_tensor

pytestmark = pytest.mark.anyio

STACK = np.random.default_rng(3).integers(0, 4096, (5, 30, 20)).astype(np.uint16)
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
FILE = dicom_stack(STACK, **WINDOW)
PAGE = {"Accept": "text/html"}


def alone(store: Store) -> list[Any]:
    """What each frame is answered if a file holds it alone."""
    predictor = Predictor(store.read("tiny", 1))
    found = [predictor.classify(dicom(frame, **WINDOW)).probabilities for frame in STACK]
    assert len({json.dumps(each) for each in found}) == 5
    return [pytest.approx(each, abs=1e-6) for each in found]


async def test_a_frame_is_answered_as_a_file_that_holds_it_alone(
    tiny_store: Store, tmp_path: Path
) -> None:
    expected = alone(tiny_store)
    async with running(tiny_store, tmp_path) as server:
        for choice, number in (("1", 1), ("4", 4), ("middle", 3)):
            answer = await server.predict(
                FILE, f"/predictions/tiny?frame={choice}", X_Request_Id=f"study-{choice}"
            )
            found = answer.json()
            assert (found["frame"], found["request_id"]) == (number, f"study-{choice}")
            assert found["probabilities"] == expected[number - 1]
        form = await server.client.post(
            "/predictions/tiny/1?frame=5", files={"file": ("x.dcm", FILE)}
        )
        assert form.json()["probabilities"] == expected[4]
        explained = (
            await server.predict(FILE, "/predictions/tiny?explain=occlusion&frame=2")
        ).json()
        assert (explained["frame"], explained["probabilities"]) == (2, expected[1])
        assert explained["explanation"]["png"]
        assert ledger_rows(tmp_path, "SELECT count(*) FROM prediction") == [(5,)]


async def test_all_frames_are_answered_counted_and_labeled_one_by_one(
    tiny_store: Store, tmp_path: Path
) -> None:
    expected = alone(tiny_store)
    async with running(tiny_store, tmp_path, max_batch=2) as server:
        headers = {"X_Request_Id": "study", "X_Candor_Tags": "site=A"}
        found = (await server.predict(FILE, "/predictions/tiny?frame=all", **headers)).json()
        assert [each["frame"] for each in found] == [1, 2, 3, 4, 5]
        assert [each["request_id"] for each in found] == [
            f"study/{number}" for number in range(1, 6)
        ]
        assert [each["probabilities"] for each in found] == expected
        assert len({each["prediction_id"] for each in found}) == 5
        assert ledger_rows(tmp_path, "SELECT count(*) FROM prediction") == [(5,)]
        label = {"model": "tiny", "request_id": "study/4", "label": found[3]["predicted"]}
        told = (await server.client.post("/feedback", json=label)).json()
        assert (told["status"], told["prediction_id"]) == ("accepted", found[3]["prediction_id"])
        counted = server.counted("candor_request_duration_seconds_count", model="tiny", version="1")
        assert (counted, server.counted("candor_decode_seconds_count")) == (5, 1)
        single = (
            await server.predict(dicom(STACK[0], **WINDOW), "/predictions/tiny?frame=all")
        ).json()
        assert [(each["frame"], each["probabilities"]) for each in single] == [(1, expected[0])]


async def test_what_cannot_be_chosen_is_refused_and_nothing_is_recorded(
    tiny_store: Store, tmp_path: Path
) -> None:
    malformed = ("frame=0", "frame=", "frame=1&frame=2", "frames=1", "frame=all&explain=occlusion")
    async with running(tiny_store, tmp_path, max_items=4) as server:
        for query, status, code in (
            ("", 415, "unsupported_image"),
            ("frame=6", 400, "no_such_frame"),
            ("frame=all", 413, "too_many_frames"),
            *((query, 400, "malformed_request") for query in malformed),
        ):
            answer = await server.predict(FILE, f"/predictions/tiny?{query}")
            assert refusal(answer) == (status, code), query
        counted = server.counted("candor_requests_rejected_total", reason="malformed_request")
        assert counted == len(malformed)
        assert ledger_rows(tmp_path, "SELECT count(*) FROM prediction") == [(0,)]


async def test_of_pages_of_a_tiff_the_first_is_answered_and_none_is_chosen(
    tiny_store: Store, tmp_path: Path
) -> None:
    pages = [Image.fromarray((page >> 4).astype(np.uint8)) for page in STACK[:3]]
    first, several = io.BytesIO(), io.BytesIO()
    pages[0].save(first, "TIFF")
    pages[0].save(several, "TIFF", save_all=True, append_images=pages[1:])
    async with running(tiny_store, tmp_path) as server:
        expected = (await server.predict(first.getvalue())).json()["probabilities"]
        answer = (await server.predict(several.getvalue())).json()
        assert (answer["probabilities"], "frame" in answer) == (expected, False)
        for choice in ("1", "2", "middle", "all"):
            refused = await server.predict(several.getvalue(), f"/predictions/tiny?frame={choice}")
            assert refusal(refused) == (415, "unsupported_image")
        assert ledger_rows(tmp_path, "SELECT count(*) FROM prediction") == [(2,)]


async def test_frames_that_are_too_many_pixels_together_are_refused_by_the_header(
    tiny_store: Store, tmp_path: Path
) -> None:
    async with running(tiny_store, tmp_path, max_pixels=4 * 30 * 20) as server:
        refused = await server.predict(FILE, "/predictions/tiny?frame=all")
        assert refusal(refused) == (413, "too_many_frames")
        assert "5 x 20 x 30 pixels" in refused.json()["detail"]
        assert (await server.predict(FILE, "/predictions/tiny?frame=5")).status_code == 200


async def test_several_files_choose_no_frames(tiny_store: Store, tmp_path: Path) -> None:
    async with running(tiny_store, tmp_path) as server:
        body = json.dumps([base64.b64encode(FILE).decode()])
        for query in ("frame=all", "frame=1"):
            answer = await server.predict(
                body.encode(), f"/predictions/tiny?{query}", Content_Type="application/json"
            )
            assert refusal(answer) == (400, "malformed_request")


async def test_the_open_inference_protocol_takes_a_parameter(
    tiny_store: Store, tmp_path: Path
) -> None:
    expected = alone(tiny_store)
    tensor = bytes_tensor(FILE)
    async with running(tiny_store, tmp_path) as server:

        async def infer(**body: Any) -> httpx.Response:
            return await server.client.post(
                "/v2/models/tiny/infer", json={"inputs": [tensor]} | body
            )

        for frame, numbers in ((2, [2]), ("2", [2]), ("middle", [3]), ("all", [1, 2, 3, 4, 5])):
            answer = await infer(parameters={"frame": frame}, id=f"study-{frame}")
            outputs = {each["name"]: each for each in answer.json()["outputs"]}
            assert outputs["probabilities"]["shape"] == [len(numbers), 3]
            found = np.reshape(outputs["probabilities"]["data"], (-1, 3))
            for row, number in zip(found, numbers, strict=True):
                assert list(row) == pytest.approx(
                    list(expected[number - 1].expected.values()), abs=1e-6
                )
        for frame in (True, 1.5, "some", 0):
            assert (await infer(parameters={"frame": frame})).status_code == 400
        assert (await infer(parameters={"frame": 6})).status_code == 400
        refused = await infer(inputs=[bytes_tensor(FILE, FILE)], parameters={"frame": 1})
        assert refused.status_code == 400
        ids = ledger_rows(tmp_path, "SELECT request_id FROM prediction ORDER BY prediction_id")
        assert [each for (each,) in ids if each.startswith("study-all")] == [
            f"study-all/{n}" for n in range(1, 6)
        ]


async def test_the_client_asks_for_one_or_for_all(tiny_store: Store, tmp_path: Path) -> None:
    expected = alone(tiny_store)
    async with running(tiny_store, tmp_path) as server:
        client = client_in_loop(httpx.ASGITransport(server.service.app))
        second = await asyncio.to_thread(client.predict, FILE, frame=2)
        assert second["probabilities"] == expected[1]
        middle = await asyncio.to_thread(client.predict, FILE, frame="middle")
        assert middle["frame"] == 3
        found = await asyncio.to_thread(client.predict_frames, FILE, request_id="study")
        assert [each["probabilities"] for each in found] == expected
        assert found[4]["request_id"] == "study/5"
        with pytest.raises(ServerRefused, match="frame 9 was asked for"):
            await asyncio.to_thread(client.predict, FILE, frame=9)


async def test_trials_of_frames_are_shown_one_by_one(tiny_store: Store, tmp_path: Path) -> None:
    async with running(tiny_store, tmp_path) as server:

        async def tried(frame: str, **fields: str) -> str:
            files = {"file": ("study.dcm", FILE)}
            page = await server.client.post(
                "/try/tiny", files=files, data={"frame": frame} | fields, headers=PAGE
            )
            assert page.status_code == 200
            return page.text

        page = await tried("all", record="yes")
        assert [
            f"study.dcm, frame {number}, as the model sees it" in page for number in range(1, 7)
        ] == [True] * 5 + [False]
        assert page.count('data-file="0" data-frame="') == 5
        assert ledger_rows(tmp_path, "SELECT count(*) FROM prediction") == [(5,)]
        assert "study.dcm, frame 3" in await tried("middle")
        assert "5 frames: expected a single frame" in await tried("")
        assert "chooses no frame" in await tried("some")
        viewed = await server.client.post("/try/tiny/view?frame=4", content=FILE)
        samples = np.frombuffer(base64.b64decode(viewed.json()["samples"]), "<u2").reshape(30, 20)
        assert np.array_equal(samples + viewed.json()["offset"], STACK[3])
        assert (await server.client.post("/try/tiny/view?frame=9", content=FILE)).json()[
            "error"
        ] == "no_such_frame"


def test_predict_answers_frames_with_a_model_on_disk(tiny_store: Store, tmp_path: Path) -> None:
    expected = alone(tiny_store)
    file, table = tmp_path / "study.dcm", tmp_path / "answers.csv"
    file.write_bytes(FILE)
    command = ["predict", str(file), "--model", "tiny", "--store", str(tiny_store.root)]
    found = candor_here(*command, "--frame", "all", "--json")
    answers = json.loads(found.stdout)
    assert [(each["frame"], each["probabilities"]) for each in answers] == list(
        enumerate(expected, 1)
    )
    told = candor_here(*command, "--frame", "middle", "--csv", table)
    assert told.exit_code == 0, told.output
    cells = [line.split(",") for line in table.read_text().splitlines()]
    assert dict(zip(cells[0], cells[1], strict=True))["frame"] == "3"
    assert "study.dcm, frame 4: " in candor_here(*command, "--frame", "4").stdout
    refused = candor_here(*command)
    assert (refused.exit_code, "5 frames" in refused.output) == (1, True)
    wrong = candor_here(*command, "--frame", "none")
    assert (wrong.exit_code, "chooses no frame" in wrong.output) == (2, True)
