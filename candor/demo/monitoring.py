"""Steps 3 to 5: serve the model, label its answers, and send shifted images."""

import json
import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from calibration.document import Heading, Part, Verdict
from calibration.figures import figure
from calibration.wording import counted
from candor.demo.session import DemoSession, side_by_side
from candor.demo.traffic import SentImages, label_answers, send_split
from candor.server_process import ServerProcess
from model_store.bundle.card import Card
from serving.client import Client

VALIDATION_LIMIT = 600
ANSWERS_SHOWN = 3


def serve_validation(
    session: DemoSession, server: ServerProcess, client: Client
) -> Generator[Part, None, SentImages]:
    """Step 3: send validation images to the server."""
    yield Heading("3. Serve")
    yield f"A server process without torch was ready after {server.ready_s:.1f} s: {server.url}"
    count = len(session.dataset.splits["val"].labels)
    indices = session.order.permutation(count)[:VALIDATION_LIMIT].tolist()
    started = time.monotonic()
    sent = send_split(session, client, "val", indices)
    elapsed = time.monotonic() - started
    yield (
        f"It answered {counted(len(indices), 'validation image')} over HTTP in {elapsed:.1f} s. "
        "The first answers in full:"
    )
    yield from (f"   {json.dumps(answer)}" for answer in sent.answers[:ANSWERS_SHOWN])
    session.figures["serve"] = {
        "ready_s": server.ready_s,
        "images": len(indices),
        "seconds": elapsed,
    }
    return sent


def label_validation(
    session: DemoSession, client: Client, sent: SentImages, card: Card
) -> Iterator[Part]:
    """Step 4: label those answers; the monitor must then report what the card says."""
    statuses = label_answers(client, sent, stage="labels of validation images")
    report = client.calibration(session.model)
    measures = card.calibration.measures
    counts = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    yield Heading("4. Label")
    yield (
        f"The true labels of these answers were sent ({counts}). The monitor's figures beside the "
        "model card's:"
    )
    yield side_by_side({"card": measures, "monitor": report["measures"]})
    yield _detector(report["drift"])
    session.figures["label"] = {"card": measures, "report": report}


def provoke_drift(
    session: DemoSession, client: Client, card: Card
) -> Generator[Part, None, tuple[SentImages, SentImages]]:
    """Step 5: send and label the test images, and report when the drift alarm was raised.

    Returns their first half, and the second, which is sent once all of the first is answered. So a
    recalibration on the first half finds all answers of its time among these labels.
    """
    count = len(session.dataset.splits["test"].labels)
    before = client.calibration(session.model)["drift"]["labels"]
    order = session.order.permutation(count).tolist()
    first, second = (
        send_split(session, client, "test", half)
        for half in (order[: count // 2], order[count // 2 :])
    )
    label_answers(client, first + second, stage="labels of test images")
    report = client.calibration(session.model)
    found = report["drift"]
    alarm = found["alarm_label"] - before if found["active"] else None
    yield Heading("5. Drift")
    yield (
        f"The {count} test images stand in for images from another site. They were sent and "
        "labeled in random order."
    )
    if alarm is None:
        yield f"No alarm within {count} labels. {_detector(found)}"
    else:
        said = f"The model is {found['direction']}confident on these images."
        yield Verdict(f"ALARM after {alarm} of these labels", said, "off")
    measures = card.calibration.measures
    yield side_by_side({"card": measures, f"these {count} labels": (first + second).measures()})
    yield f"State of the diagnosis: {report['diagnosis']['state']}"
    session.figures["drift"] = {"alarm_after_labels": alarm, "report": report}
    return first, second


def _detector(found: Mapping[str, Any]) -> str:
    return (
        f"Drift detector: {'ALARM' if found['active'] else 'no alarm'} after {found['labels']} "
        f"labels. Its evidence (log e) is {figure(found['log_evalue'], 1)}; an alarm takes "
        f"{found['log_threshold']:.1f}."
    )
