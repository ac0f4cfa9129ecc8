"""Images that a model has seen in training are noticed among live ones."""

from pathlib import Path

import pytest

from model_store.bundle.bundle import write_bundle
from model_store.bundle.card import InputReference
from model_store.image import decode
from model_store.image.training_digests import TrainingDigests
from model_store.store.store import Store
from serving.trials.tried_image import SEEN
from tests.builders.bundles import build_bundle, png
from tests.builders.services import PAGE, running

pytestmark = pytest.mark.anyio
REFERENCE = InputReference(mean=120, mean_sd=20, contrast=40, contrast_sd=10, n=500)


@pytest.mark.parametrize("trained_on", [0, 10])
async def test_the_report_says_their_share(tmp_path: Path, trained_on: int) -> None:
    bundle = build_bundle(tmp_path / "bundle", name="tiny")
    card = bundle.card.model_copy(update={"input_reference": REFERENCE, "files": {}})
    images = [png(seed) for seed in range(30)]
    seen = [decode(each, card.input.spec) for each in images[:trained_on]]
    known = TrainingDigests.of(seen, key=bytes(16))
    store = Store(tmp_path / "store")
    store.publish(
        "tiny",
        lambda folder, _: write_bundle(folder, card=card, onnx=bundle.onnx, trained_on=known),
    )
    store.promote("tiny", 1)
    async with running(store, tmp_path) as server:
        for image in images:
            answer = (await server.predict(image)).json()
            label = {"prediction_id": answer["prediction_id"], "label": answer["predicted"]}
            assert (await server.client.post("/feedback", json=label)).status_code == 200
        trial = await server.client.post("/try/tiny", files={"file": images[0]}, headers=PAGE)
        report = (await server.client.get("/models/tiny/report")).json()
        page = (await server.client.get("/models/tiny/report/page")).text
        counted = server.counted("candor_training_images_total", model="tiny", version="1")
    assert (SEEN in trial.text) == (trained_on > 0)
    signs = {each["name"]: each for each in report["diagnosis"]["early_signs"]}
    assert counted == trained_on
    assert signs["training_images"]["value"] == pytest.approx(trained_on / 30)
    assert signs["training_images"]["raised"] == (trained_on > 0)
    reasons = report["diagnosis"]["reasons"]
    assert ("trained_on" in reasons, "input_changed" in reasons) == (trained_on > 0, False)
    assert ("own training data" in page) == (trained_on > 0)
