"""Parts of the demo, its sample and its traffic with servers away; tests/e2e runs all of it."""

import io
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from candor.demo.live_traffic import LiveTraffic, TrafficFailed, TrafficPlan
from candor.demo.run import OWN_ENTRIES, _clear
from candor.demo.sample import MODEL, SampleImages, publish_sample
from model_store.store.samples import read_samples
from model_store.store.store import Store
from serving.client import ServerRefused

PLAN = TrafficPlan(rate_hz=8, clean_s=20, label_delay_s=10, start_s=5, limit_s=100, once=True)


class FakeServers:
    """Answers with ids; labels of shifted images raise the alarm. `away` requests fail."""

    def __init__(self, *, away: int = 0, alarm_after: int = 20, active: bool = False) -> None:
        self.away, self.alarm_after, self.active = away, alarm_after, active
        self.shifted: set[str] = set()
        self.labels: dict[str, str] = {}

    def ready(self) -> bool:
        return True

    def models(self) -> Any:
        return {"models": [{"name": MODEL}]}

    def predict(self, image: bytes, *, model: str, tags: dict[str, str]) -> Any:
        if self.away:
            self.away -= 1
            raise httpx.ConnectError("away")
        key = f"{len(self.labels)}-{len(image)}-{len(self.shifted)}"
        if tags["camera"] == "new":
            self.shifted.add(key)
        return {"prediction_id": key}

    def feedback(self, labels: list[dict[str, str]]) -> Any:
        self.labels |= {each["prediction_id"]: each["label"] for each in labels}
        return [{"status": "accepted"} for _ in labels]

    def calibration(self, model: str) -> Any:
        active = self.active or len(self.shifted & self.labels.keys()) >= self.alarm_after
        return {"drift": {"active": active, "direction": "over", "alarm_label": 7}}


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def traffic(servers: FakeServers, said: list[str] | None = None) -> LiveTraffic:
    clock, client = Clock(), servers
    say = [] if said is None else said
    images = SampleImages(seed=0)
    made: Any = client
    return LiveTraffic(
        made, made, PLAN, images, say.append, now_s=lambda: clock.now_s, sleep=clock.sleep
    )


def test_the_alarm_ends_it_and_is_told_with_its_seconds() -> None:
    said: list[str] = []
    servers = FakeServers()
    figures = traffic(servers, said).run()
    assert figures["missed"] == 0
    assert figures["alarm_after_s"] == figures["alarm_after_shift_s"] + PLAN.clean_s
    late_s = PLAN.label_delay_s + servers.alarm_after / PLAN.rate_hz
    assert late_s <= figures["alarm_after_shift_s"] <= late_s + 2
    assert figures["answers"] == pytest.approx(PLAN.rate_hz * figures["alarm_after_s"], abs=2)
    assert said[-1].startswith("ALARM")


def test_requests_that_nobody_answers_are_counted() -> None:
    assert traffic(FakeServers(away=3)).run()["missed"] == 3


def test_an_alarm_of_before_is_refused() -> None:
    with pytest.raises(
        TrafficFailed,
        match=r"active since label 7\. Acknowledge it.*curl -X POST http://127.0.0.1:8080/models/digits/report/ack",
    ):
        traffic(FakeServers(active=True)).run()


def test_an_alarm_that_does_not_come_is_told() -> None:
    with pytest.raises(TrafficFailed, match="no alarm within 100 s"):
        traffic(FakeServers(alarm_after=10**6)).run()


def test_an_alarm_before_the_shift_is_no_success() -> None:
    servers = FakeServers(alarm_after=10**6)
    sender = traffic(servers)
    accept = servers.feedback

    def raise_alarm(labels: list[dict[str, str]]) -> Any:
        servers.active = len(servers.labels) > 5
        return accept(labels)

    servers.feedback = raise_alarm
    with pytest.raises(TrafficFailed, match="before the shift, after"):
        sender.run()


def test_a_missing_token_is_told_at_once() -> None:
    """It was once waited for, in silence."""

    class Guarded(FakeServers):
        def models(self) -> Any:
            raise ServerRefused(401, "unauthorized", "this server requires a token")

    said: list[str] = []
    with pytest.raises(TrafficFailed, match="requires a token"):
        traffic(Guarded(), said).run()
    assert said == []


def test_the_model_has_images_beside_it_for_its_page(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert publish_sample(store) == publish_sample(store) == 1
    offered = read_samples(store.storage, MODEL)
    assert len({each.data for each in offered}) == 6
    assert {Image.open(io.BytesIO(each.data)).size for each in offered} == {(32, 32)}


def test_every_image_comes_once_before_one_comes_again() -> None:
    sample = SampleImages(seed=1)
    drawn = [sample.draw(shifted=False) for _ in sample.labels]
    assert sorted(label for _, label in drawn) == sorted(map(str, sample.labels.tolist()))
    assert len({image for image, _ in drawn}) > 0.99 * len(drawn)
    size, mode = (lambda image: (image.size, image.mode))(Image.open(io.BytesIO(drawn[0][0])))
    assert (size, mode) == ((32, 32), "L")


def test_only_what_an_earlier_demo_wrote_is_removed(tmp_path: Path) -> None:
    (tmp_path / "models" / "digits").mkdir(parents=True)
    (tmp_path / "ledger.db").touch()
    (tmp_path / "thesis.tex").touch()
    _clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert not {path.name for path in tmp_path.iterdir()} & set(OWN_ENTRIES)
