"""Traffic on running servers: images, labels that come later, and then another camera.

It needs neither torch nor the servers' machine: it speaks HTTP, like any client. What it sends is
`candor.demo.sample`.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from httpx import TransportError

from calibration.wording import counted
from candor.demo.sample import MODEL, SampleImages
from hosting.errors import ServingError
from model_store.addresses import shown_address
from serving.client import Client, ServerRefused

LOOK_S: Final = 1.0  # between two questions for the alarm
PAUSE_S: Final = 0.5  # after a server could not be reached


class TrafficFailed(ServingError):
    """The servers are not there, or an alarm was already active."""


@dataclass(frozen=True)
class TrafficPlan:
    """What is sent when.

    Attributes:
        clean_s: seconds of images like those the model knows, before the shift.
        label_delay_s: seconds from an answer to its label.
        start_s: seconds in which the servers must be ready.
        limit_s: seconds after the shift within which the alarm must come.
        once: end with the alarm; else go on until the process is stopped.
    """

    rate_hz: float = 8.0
    clean_s: float = 60.0
    label_delay_s: float = 10.0
    start_s: float = 120.0
    limit_s: float = 600.0
    once: bool = False


@dataclass
class LiveTraffic:
    """Sends the sample's images to `server` and their labels to `monitor`; they may be the same.

    Attributes:
        address: of `monitor`, for what is to be done about an alarm.
        sent: answers so far.
        labeled: labels that were accepted.
        missed: requests that no server answered; nothing is sent twice.
    """

    server: Client
    monitor: Client
    plan: TrafficPlan
    images: SampleImages
    say: Callable[[str], object]
    address: str = "http://127.0.0.1:8080"
    now_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    sent: int = 0
    labeled: int = 0
    missed: int = 0
    _waiting: deque[tuple[float, dict[str, Any]]] = field(default_factory=deque)  # (due, label)

    def run(self) -> dict[str, Any]:
        """Send until the alarm, or until stopped; return the figures. Raises TrafficFailed."""
        self._await_servers()
        started = self.now_s()
        said = f"Sending {self.plan.rate_hz:g} images a second to {MODEL}; labels follow"
        self.say(f"{said} {self.plan.label_delay_s:g} s later.")
        false_alarm = self._send(
            shifted=False, until=lambda now, alarm: now - started >= self.plan.clean_s or alarm
        )
        if false_alarm is not None:
            raise TrafficFailed(
                f"the alarm was raised before the shift, after {counted(self.labeled, 'label')}"
            )
        self.say(
            f"{self.sent} answers, {self.labeled} labels, no alarm. From now on the images are "
            "from another camera."
        )
        shifted, labels = self.now_s(), self.labeled
        limit_s = self.plan.limit_s
        alarm = self._send(shifted=True, until=lambda now, alarm: now - shifted > limit_s or alarm)
        now = self.now_s()
        if alarm is None:
            raise TrafficFailed(
                f"no alarm within {limit_s:.0f} s and {counted(self.labeled - labels, 'label')} of "
                "the shift"
            )
        figures = {
            "alarm_after_s": round(now - started, 1),
            "alarm_after_shift_s": round(now - shifted, 1),
            "labels_after_shift": self.labeled - labels,
            "answers": self.sent,
            "missed": self.missed,
        }
        self.say(
            f"ALARM {now - shifted:.0f} s after the shift, {now - started:.0f} s after the start: "
            f"the model is {alarm['direction']}confident."
        )
        if not self.plan.once:
            self.say("The traffic goes on until it is stopped.")
            self._send(shifted=True, until=lambda _now, _alarm: False)
        return figures

    def _await_servers(self) -> None:
        end = self.now_s() + self.plan.start_s
        told = False
        while not (self.server.ready() and self.monitor.ready() and self._serves()):
            if self.now_s() > end:
                raise TrafficFailed(
                    f"no server with the model {MODEL}, or no monitor, was ready within "
                    f"{self.plan.start_s:.0f} s"
                )
            if not told:
                self.say(
                    f"Waiting up to {self.plan.start_s:.0f} s for a server with the model {MODEL}, "
                    "and a monitor."
                )
            told = True
            self.sleep(PAUSE_S)
        if (active := self._alarm()) is not None:
            raise TrafficFailed(
                f"the drift alarm of {MODEL} is active since label {active['alarm_label']}. "
                "Acknowledge it, or begin with an empty ledger: curl -X POST "
                f"{shown_address(self.address)}/models/{MODEL}/report/acknowledge "
                '-d \'{"note": "it was the demo"}\''
            )

    def _serves(self) -> bool:
        try:
            return MODEL in [model["name"] for model in self.server.models()["models"]]
        except TransportError:
            return False
        except ServerRefused as refused:
            if refused.status in (401, 403):  # waiting gives no token
                raise TrafficFailed(str(refused)) from None
            return False

    def _send(
        self, *, shifted: bool, until: Callable[[float, bool], bool]
    ) -> dict[str, Any] | None:
        """Send images at the plan's rate and due labels, until `until(now, alarm)`."""
        looked = 0.0
        alarm: dict[str, Any] | None = None
        for now in self._ticks():
            if now - looked >= LOOK_S:
                looked, alarm = now, self._alarm()
            if until(now, alarm is not None):
                return alarm
            self._send_one(shifted=shifted)
            self._label_due(now)
        return alarm

    def _ticks(self) -> Iterator[float]:
        """The times at which an image is due. Those that were missed are not made up for."""
        due = self.now_s()
        while True:
            self.sleep(max(0.0, due - self.now_s()))
            now = self.now_s()
            yield now
            due = max(due + 1 / self.plan.rate_hz, now)

    def _send_one(self, *, shifted: bool) -> None:
        image, label = self.images.draw(shifted=shifted)
        try:
            answer = self.server.predict(
                image, model=MODEL, tags={"camera": "new" if shifted else "old"}
            )
        except (ServerRefused, TransportError):
            self.missed += 1
            self.sleep(PAUSE_S)
            return
        self.sent += 1
        item = {"prediction_id": answer["prediction_id"], "label": label}
        self._waiting.append((self.now_s() + self.plan.label_delay_s, item))

    def _label_due(self, now: float) -> None:
        """Send the labels that are due; they stay in the queue until they are acknowledged."""
        due = [item for at, item in self._waiting if at <= now]
        if not due:
            return
        try:
            results = self.monitor.feedback(due)
        except (ServerRefused, TransportError):
            self.sleep(PAUSE_S)
            return
        self.labeled += sum(result["status"] in ("accepted", "unchanged") for result in results)
        for _ in due:
            self._waiting.popleft()

    def _alarm(self) -> dict[str, Any] | None:
        """What the report says of the drift watch, if its alarm is active."""
        try:
            drift: dict[str, Any] = self.monitor.calibration(MODEL)["drift"]
        # nothing is known of the model before its first answer
        except (ServerRefused, TransportError):
            return None
        return drift if drift["active"] else None
