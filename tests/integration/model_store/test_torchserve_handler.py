"""TorchServe's handler without TorchServe: out of the archive, in a folder of its own."""

import json
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from calibration.calibrators.subgroups import AnswerCalibrators
from hosting.error_table import ERRORS
from hosting.errors import MalformedRequest
from model_store import errors
from model_store.bundle.archive import write_archive
from model_store.bundle.calibration_card import ConformalCard
from model_store.errors import ImageError, ImageTooComplex, TagsInvalid
from model_store.image import InputSpec, decode
from model_store.image.training_digests import DIGEST_FILE, TrainingDigests
from model_store.runtime import ort
from model_store.store.store import Store
from model_store.tags import read_tags
from model_store.torchserve.answers import declaration_of, logged
from model_store.torchserve.counters import WorkerCounters
from model_store.torchserve.handler import STATUS, CandorHandler
from serving.http.request import request_id_of
from serving.inference.answer import JsonAnswerWriter, kind_of
from serving.inference.predictor import Predictor
from tests.builders.bundles import (
    build_bundle,
    build_card,
    build_onnx,
    png,
    subgroup,
    with_subgroups,
)
from tests.builders.dicoms import dicom, dicom_stack
from tests.builders.findings import publish_findings
from tests.builders.processes import PATIENCE_S


class Context(SimpleNamespace):
    """What TorchServe hands to a handler, as far as the handler asks."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            system_properties={"model_dir": str(folder)}, statuses={}, headers={}, types={}
        )

    def get_all_request_header(self, index: int) -> dict[str, str]:
        return {"X-Request-ID": f"id-{index}"} | self.headers.get(index, {})

    def set_response_content_type(self, index: int, value: str) -> None:
        self.types[index] = value

    def set_response_status(self, *, code: int, phrase: str, idx: int) -> None:
        self.statuses[idx] = (code, phrase)

    def codes(self) -> dict[int, int]:
        return {index: code for index, (code, _) in self.statuses.items()}


def unpacked(archive: Path, folder: Path) -> Path:
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder / "archive")
    return folder / "archive"


def started(folder: Path) -> tuple[CandorHandler, Context]:
    """A handler that has loaded the unpacked archive in a folder."""
    handler, context = CandorHandler(), Context(folder)
    handler.initialize(context)
    return handler, context


@pytest.fixture
def archive(tiny_store: Store, tmp_path: Path) -> Path:
    """The unpacked archive of version 1 of "tiny"."""
    return unpacked(tiny_store.folder("tiny", 1) / "tiny.mar", tmp_path)


def test_a_batch_is_answered_and_a_bad_image_in_it_harms_no_neighbor(
    archive: Path, tiny_store: Store
) -> None:
    handler, context = started(archive)
    bodies: list[Any] = [bytearray(png(1)), b"text", png(2)[:-40], {"json": 1}, None, png(3)]
    requests = [{"body": body} for body in bodies]
    answers = handler.handle(requests, context)
    predictor = Predictor(tiny_store.read("tiny", 1))
    for index in (0, 5):
        expected = predictor.classify(bytes(bodies[index]))
        assert answers[index]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
        assert answers[index]["request_id"] == f"id-{index}"
    assert context.codes() == {1: 415, 2: 400, 3: 415, 4: 400}
    assert answers[4]["error"] == "empty_body"
    assert set(context.types.values()) == {"application/json"}


def test_images_that_the_model_was_trained_on_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = build_bundle(tmp_path / "bundle")
    seen = [decode(png(number), bundle.card.input.spec) for number in range(4)]
    write_archive(
        tmp_path / "tiny.mar",
        card=bundle.card,
        onnx=bundle.onnx,
        beside={DIGEST_FILE: TrainingDigests.of(seen, key=bytes(16)).as_bytes()},
    )
    counted: Counter[str] = Counter()
    monkeypatch.setattr(
        WorkerCounters, "_add", lambda _, name, n, labels: counted.update({name: n})
    )
    handler, context = started(unpacked(tmp_path / "tiny.mar", tmp_path))
    assert counted["candor_training_images_total"] == 0
    handler.handle([{"body": png(number)} for number in (1, 2, 7)] + [{"body": b"text"}], context)
    assert counted["candor_training_images_total"] == 2
    assert counted["candor_predictions_total"] == 3


def test_probes_that_differ_stop_the_worker_or_warn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_bundle(tmp_path / "bundle", off_by=0.1)
    folder = unpacked(tmp_path / "bundle" / "tiny.mar", tmp_path)
    with pytest.raises(RuntimeError, match=r"differ by 0\.1"):
        started(folder)
    monkeypatch.setenv("CANDOR_ON_DIFFERENCE", "warn")
    started(folder)


def test_a_model_with_findings_answers_as_candors_own_server(tmp_path: Path) -> None:
    of_b = subgroup(("B",), temperature=2.0, class_bias=(0.0, 1.0))
    store = publish_findings(tmp_path / "store", sets=True, subgroups={"Mass": of_b})
    card = store.read("chest").card
    handler, context = started(unpacked(store.folder("chest", 1) / "chest.mar", tmp_path))
    context.headers[1] = {"X-Candor-Tags": "site=B"}
    answers = json.loads(json.dumps(handler.handle([{"body": png(1)}] * 2, context)))
    predictor = Predictor(store.read("chest"))
    names = [*card.classes]
    said = declaration_of(handler._card)
    assert (said["model"], said["bundle_card"]["classes"]) == ("chest", names)
    assert [*logged(answers[0], handler._calibrators.of(None), None)["findings"]] == names
    for given, tags in zip(answers, (None, '{"site":"B"}'), strict=True):
        by = predictor.calibrators.of(tags)
        values = by(predictor.predict(decode(png(1), card.input.spec)[np.newaxis]))[0].tolist()
        ids = given["prediction_id"], given["request_id"]
        own = json.loads(kind_of(card).writer.write(*ids, values, by))
        for name, finding in own["findings"].items():
            probability = given["findings"][name].pop("probability")
            assert probability == pytest.approx(finding.pop("probability"), abs=1e-8)
        assert given == own
        assert ("calibrator" in given["findings"]["Mass"]) is (tags is not None)


def test_frames_are_answered_as_by_candors_own_server(archive: Path, tiny_store: Store) -> None:
    stack = np.random.default_rng(4).integers(0, 4096, (20, 30, 20)).astype(np.uint16)
    data = dicom_stack(stack)
    handler, context = started(archive)
    requests = [
        {"body": data, "frame": frame} for frame in (b"all", "3", b"middle", b"21", b"none")
    ] + [{"body": data}]
    everything, third, middle, *refused = handler.handle(requests, context)
    expected = Predictor(tiny_store.read("tiny", 1)).classify_frames(data, "all")
    assert [each["frame"] for each in everything] == list(expected)
    for answer in (*everything, third, middle):
        assert answer["probabilities"] == pytest.approx(
            expected[answer["frame"]].probabilities, abs=1e-6
        )
    for given in handler._inputs(requests[0], None, None):  # bit by bit
        assert np.array_equal(
            given.pixels, decode(dicom(stack[given.frame - 1]), InputSpec(**handler._card["input"]))
        )
    ids = [each["request_id"] for each in (everything[6], third, middle)]
    assert ids == ["id-0/7", "id-1", "id-2"]
    codes = [each["error"] for each in refused]
    assert codes == ["no_such_frame", "malformed_request", "unsupported_image"]
    assert context.codes() == {3: 400, 4: 400, 5: 415}


def test_the_answer_has_the_fields_of_candors_own(
    tmp_path: Path,
) -> None:
    """With a prediction set, which is only there if the card defines one."""
    sets = ConformalCard(alpha=0.1, threshold=0.2, mean_set_size=1.5, coverage_reference=0.9)
    for conformal in (sets, None):
        card = build_card().model_copy(update={"conformal": conformal})
        folder = tmp_path / f"{conformal is None}"
        folder.mkdir()
        (folder / "card.json").write_text(card.model_dump_json())
        (folder / "model.onnx").write_bytes(build_onnx())
        handler, context = started(folder)
        (given,) = json.loads(json.dumps(handler.handle([{"body": png(1)}], context)))
        values = list(given["probabilities"].values())
        key = given["prediction_id"]
        by = AnswerCalibrators(card.model_dump()).of(None)
        own = json.loads(JsonAnswerWriter(card).write(key, "id-0", values, by))
        assert own.pop("probabilities") == pytest.approx(given.pop("probabilities"), abs=1e-8)
        assert own.pop("confidence") == pytest.approx(given.pop("confidence"), abs=1e-8)
        assert given == own
        assert ("prediction_set" in given) is (conformal is not None)
        assert UUID(key).version == 7


@pytest.mark.parametrize("header", ["site=B", "device=X, site=B", "site=A", "", None])
def test_tags_choose_the_calibrator_that_candors_own_server_chooses(
    tmp_path: Path, header: str | None
) -> None:
    bundle = with_subgroups(tmp_path / "bundle", subgroup(("B",), temperature=3.0))
    write_archive(tmp_path / "tiny.mar", card=bundle.card, onnx=bundle.onnx, beside={})
    handler, context = started(unpacked(tmp_path / "tiny.mar", tmp_path))
    context.headers[0] = {} if header is None else {"X-Candor-Tags": header}
    (given,) = handler.handle([{"body": png(1)}], context)
    tags = read_tags(header or "")
    expected = Predictor(bundle, threads=1).classify(png(1), tags=tags)
    assert given["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
    assert (given.get("calibrator"), given["refer"]) == (expected.calibrator, expected.refer)
    kept = logged(given, handler._calibrators.of(tags), tags)
    assert kept.get("tags") == (None if tags is None else json.loads(tags))


@pytest.mark.parametrize(
    "header",
    [
        "site",
        "=B",
        "site=",
        "site=A,site=B",
        "a=1,b=2,c=3,d=4",
        "a b=1",
        "patient=1",
        f"a={'x' * 65}",
    ],
)
def test_tags_that_candors_own_server_refuses_are_refused(archive: Path, header: str) -> None:
    handler, context = started(archive)
    context.headers[0] = {"x-candor-tags": header}
    (given,) = handler.handle([{"body": png(1)}], context)
    assert (given["error"], context.codes()) == ("malformed_request", {0: 400})
    with pytest.raises(TagsInvalid):
        read_tags(header)


def test_every_error_of_an_image_is_that_of_candors_own_server() -> None:
    """An error without a row would fail every image of the batch, as ImageTooComplex did."""
    kinds = {kind for kind in ERRORS if issubclass(kind, ImageError)} | {ImageTooComplex}
    assert {kind: row for kind, row in STATUS.items() if issubclass(kind, ImageError)} == {
        kind: ERRORS[kind] for kind in kinds
    }
    defined = {each for each in vars(errors).values() if isinstance(each, type)}
    assert {each for each in defined if issubclass(each, ImageError)} == {*kinds, ImageError}


@pytest.mark.parametrize("request_id", ["x" * 201, "a\nb", "\ufffd"])
def test_a_request_id_that_cannot_be_kept_is_refused(archive: Path, request_id: str) -> None:
    handler, context = started(archive)
    context.headers[1] = {"x-request-id": request_id, "X-Request-ID": request_id}
    first, second = handler.handle([{"body": png(1)}, {"body": png(1)}], context)
    assert first["request_id"] == "id-0"
    assert (second["error"], context.statuses[1][0]) == ("malformed_request", 400)
    with pytest.raises(MalformedRequest):  # the server refuses the same
        request_id_of(request_id)


def test_a_model_that_fails_fails_its_images_and_the_next_batch_is_answered(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, context = started(archive)
    with monkeypatch.context() as patch:
        patch.setattr(handler, "_session", ort.InferenceSession(build_onnx(height=9)))
        broken = handler.handle([{"body": png(1)}, {"body": b"text"}], context)
    assert [answer["error"] for answer in broken] == ["inference_failed", "not_an_image"]
    assert context.codes() == {0: 500, 1: 415}
    assert handler.handle([{"body": png(1)}], context)[0]["model"] == "tiny"


def test_the_archive_alone_is_enough(archive: Path) -> None:
    """In a process that sees the archive's folder and no room of Candor."""
    program = """
import json, sys
sys.path.insert(0, ".")
from types import SimpleNamespace
from torchserve_handler import CandorHandler
context = SimpleNamespace(
    system_properties={"model_dir": "."},
    get_all_request_header=lambda _: {},
    set_response_content_type=lambda *_: None,
)
handler = CandorHandler()
handler.initialize(context)
print(json.dumps(handler.handle([{"body": sys.stdin.buffer.read()}], context)))
print(sys.modules["model_store"].__file__)
print(sys.modules["calibration"].__file__)
"""
    run = subprocess.run(
        [sys.executable, "-I", "-c", program],
        cwd=archive,
        input=png(),
        capture_output=True,
        timeout=PATIENCE_S,
        check=True,
    )
    answers, *packages = run.stdout.decode().splitlines()
    assert json.loads(answers)[0]["model"] == "tiny"
    for package in packages:
        assert (archive / package).resolve().is_relative_to(archive.resolve())
