"""Pictures of answers: kept for a time, up to a size, and erased with their answers."""

import io

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import func, select

from monitoring.ledger.pictures import (
    Picture,
    drop_expired,
    keep_pictures,
    read_picture,
)
from monitoring.ledger.schema import picture
from monitoring.maintenance.erasure import forget
from monitoring.maintenance.retention import prune
from monitoring.recording.picture_keeper import PictureKeeper, as_png
from tests.builders.answers import NOW_NS, make_row
from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel
from tests.builders.processes import wait_until

DATABASES = BOTH_DATABASES
DAY_NS = 86_400 * 10**9
ROWS = [make_row(number, request_id=f"scan-{number}") for number in range(5)]
PIXELS = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)


def kept(monitored: MonitoredModel) -> list[bytes]:
    with monitored.ledger.read() as connection:
        return [
            bytes(each)
            for each in connection.scalars(
                select(picture.c.prediction_id).order_by(picture.c.prediction_id)
            )
        ]


def keep(
    monitored: MonitoredModel,
    *ids: bytes,
    size: int = 100,
    expires_at_ns: int = NOW_NS,
    limit: int = 10**6,
) -> int:
    with monitored.ledger.write() as connection:
        found = [Picture(each, bytes(size)) for each in ids]
        return keep_pictures(connection, found, expires_at_ns=expires_at_ns, limit_bytes=limit)


def test_only_answers_of_the_ledger_have_pictures(monitored: MonitoredModel) -> None:
    monitored.serve(*ROWS)
    assert keep(monitored, ROWS[0].prediction_id, make_row(99).prediction_id) == 1
    assert kept(monitored) == [ROWS[0].prediction_id]


def test_the_oldest_make_room(monitored: MonitoredModel) -> None:
    monitored.serve(*ROWS)
    ids = [row.prediction_id for row in ROWS]
    for place, each in enumerate(ids):
        keep(monitored, each, expires_at_ns=NOW_NS + place, limit=300)
    assert kept(monitored) == ids[2:]
    keep(monitored, limit=100)
    assert kept(monitored) == ids[4:]


def test_their_time_ends(monitored: MonitoredModel) -> None:
    monitored.serve(*ROWS)
    keep(monitored, ROWS[0].prediction_id, expires_at_ns=NOW_NS)
    keep(monitored, ROWS[1].prediction_id, expires_at_ns=NOW_NS + 1)
    with monitored.ledger.write() as connection:
        assert drop_expired(connection, now_ns=NOW_NS) == 1
    assert kept(monitored) == [ROWS[1].prediction_id]


@pytest.mark.parametrize("by", ["request_id", "prediction_id"])
def test_they_are_erased_with_their_answers(monitored: MonitoredModel, by: str) -> None:
    monitored.serve(*ROWS)
    keep(monitored, *(row.prediction_id for row in ROWS))
    assert forget(monitored.ledger, **{by: getattr(ROWS[2], by)}).answers == 1
    assert kept(monitored) == [row.prediction_id for row in ROWS if row is not ROWS[2]]


def test_they_are_pruned_with_their_answers(monitored: MonitoredModel, clock: Clock) -> None:
    monitored.serve(*ROWS)
    keep(monitored, *(row.prediction_id for row in ROWS), expires_at_ns=NOW_NS + 99 * DAY_NS)
    clock.now_ns += 3 * DAY_NS
    assert prune(monitored.ledger, older_than_s=86_400).answers == len(ROWS)
    assert kept(monitored) == []


def test_a_keeper_keeps_what_the_model_saw(monitored: MonitoredModel) -> None:
    monitored.serve(*ROWS)
    with PictureKeeper(monitored.ledger, days=2, limit_bytes=10**6) as keeper:
        keeper.offer(ROWS[0].prediction_id, PIXELS)
        wait_until(lambda: kept(monitored) == [ROWS[0].prediction_id])
        for _ in range(200):
            # more than wait: some are left out, nobody waits
            keeper.offer(make_row(99).prediction_id, PIXELS)
        keeper.offer(ROWS[1].prediction_id, PIXELS)
    with monitored.ledger.read() as connection:
        png = read_picture(connection, ROWS[0].prediction_id)
        expires_at_ns = connection.scalar(select(func.min(picture.c.expires_at_ns)))
    assert png is not None
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), PIXELS[0])
    assert expires_at_ns == NOW_NS + 2 * DAY_NS


def test_a_ledger_that_fails_costs_pictures_only(
    monitored: MonitoredModel, caplog: pytest.LogCaptureFixture
) -> None:
    monitored.serve(*ROWS)
    with monitored.ledger.write() as connection:
        picture.drop(connection)
    with PictureKeeper(monitored.ledger, days=2, limit_bytes=10**6) as keeper:
        keeper.offer(ROWS[0].prediction_id, PIXELS)
        wait_until(lambda: bool(caplog.records))
    monitored.serve(make_row(50))
    with monitored.ledger.write() as connection:
        picture.create(connection)


def test_a_picture_in_color_stays_in_color_and_a_gray_one_is_small() -> None:
    color = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(as_png(color)))), color.transpose(1, 2, 0)
    )
    assert Image.open(io.BytesIO(as_png(np.repeat(PIXELS, 3, axis=0)))).mode == "L"
