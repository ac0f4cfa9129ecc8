"""Steps 3 to 5: serve the model, label its answers, and send shifted images."""

import json
import time
from collections.abc import Mapping
from typing import Any

from calibration.wording import counted
from candor.demo.session import DemoSession, heading, side_by_side
from candor.demo.traffic import SentImages, label_answers, send_split
from candor.server_process import ServerProcess
from candor.terminal.console import stdout
from candor.terminal.tables import figure
from model_store.bundle.card import Card
from serving.client import Client

VALIDATION_LIMIT = 600
ANSWERS_SHOWN = 3


def serve_validation(session: DemoSession, server: ServerProcess, client: Client) -> SentImages:
    """Step 3: send validation images to the server."""
    heading("3. Serve")
    stdout.print(
        f"A server process without torch was ready after {server.ready_s:.1f} s: {server.url}"
    )
    count = len(session.dataset.splits["val"].labels)
    indices = session.order.permutation(count)[:VALIDATION_LIMIT].tolist()
    started = time.monotonic()
    sent = send_split(session, client, "val", indices)
    elapsed = time.monotonic() - started
    stdout.print(
        f"It answered {counted(len(indices), 'validation image')} over HTTP in {elapsed:.1f} s. "
        "The first answers in full:"
    )
    for answer in sent.answers[:ANSWERS_SHOWN]:
        stdout.print(f"   {json.dumps(answer)}")
    session.figures["serve"] = {
        "ready_s": server.ready_s,
        "images": len(indices),
        "seconds": elapsed,
    }
    return sent


def label_validation(session: DemoSession, client: Client, sent: SentImages, card: Card) -> None:
    """Step 4: label those answers; the monitor must then report what the card says."""
    statuses = label_answers(client, sent, stage="labels of validation images")
    report = client.calibration(session.model)
    measures = card.calibration.measures
    counts = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    heading("4. Label")
    stdout.print(
        f"The true labels of these answers were sent ({counts}). The monitor's figures beside the "
        "model card's:\n"
    )
    stdout.print(side_by_side({"card": measures, "monitor": report["measures"]}))
    stdout.print(f"\n{_detector(report['drift'])}")
    session.figures["label"] = {"card": measures, "report": report}


def provoke_drift(
    session: DemoSession, client: Client, card: Card
) -> tuple[SentImages, SentImages]:
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
    heading("5. Drift")
    stdout.print(
        f"The {count} test images stand in for images from another site. They were sent and "
        "labeled in random order."
    )
    if alarm is None:
        stdout.print(f"No alarm within {count} labels. {_detector(found)}\n")
    else:
        said = (
            f"ALARM after {alarm} of these labels: the model is {found['direction']}confident on "
            "these images.\n"
        )
        stdout.print(said, style="bold red")
    measures = card.calibration.measures
    stdout.print(
        side_by_side({"card": measures, f"these {count} labels": (first + second).measures()})
    )
    stdout.print(f"\nState of the diagnosis: {report['diagnosis']['state']}")
    session.figures["drift"] = {"alarm_after_labels": alarm, "report": report}
    return first, second


def _detector(found: Mapping[str, Any]) -> str:
    return (
        f"Drift detector: {'ALARM' if found['active'] else 'no alarm'} after {found['labels']} "
        f"labels. Its evidence (log e) is {figure(found['log_evalue'], 1)}; an alarm takes "
        f"{found['log_threshold']:.1f}."
    )
