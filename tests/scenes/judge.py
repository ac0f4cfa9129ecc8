"""Judge diagnoses from outside: each scene is logged at a running monitor, and its report is read.

python -m tests.scenes.judge [--runs 3] [--only NAME] [--show]
"""

import argparse
import json
import tempfile
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from tests.builders.processes import Process
from tests.scenes.scenes import CURES, DAY_S, SCENES, Scene
from tests.scenes.world import World

_PORTION = 5_000


def send(url: str, path: str, body: Any) -> Any:
    """POST JSON, or GET where `body` is None."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url + path, data, headers)) as answer:
        return json.load(answer)


def diagnose(url: str, name: str, world: World) -> dict[str, Any]:
    """Log a world under a name, and read its diagnosis."""
    send(url, "/models-log", {"model": name, "version": 1, "classes": world.classes})
    if "source" in world.columns:
        send(url, f"/models/{name}/report/sources", {"policies": {"report": "proxy"}})
    rows = world.rows(name)
    for start in range(0, len(rows), _PORTION):
        send(url, "/predictions-log", rows[start : start + _PORTION])
    for numbers, labels, source in world.later:
        send(
            url,
            "/feedback",
            [
                {
                    "model": name,
                    "request_id": rows[number]["request_id"],
                    "label": world.classes[label],
                }
                | ({"source": source} if source else {})
                for number, label in zip(numbers.tolist(), labels.tolist(), strict=True)
            ],
        )
    found: dict[str, Any] = send(url, f"/models/{name}/report", None)["diagnosis"]
    return found


def grade(scene: Scene, world: World, found: dict[str, Any]) -> list[str]:
    """Return what is wrong: codes, those that would harm somebody begin with `!`."""
    wrong = []
    state = found["state"]
    if state not in scene.states:
        wrong.append(f"{'!' if state in scene.dangerous else ''}state={state}")
    possible = [each["code"] for each in found["actions"] if each["available"]]
    first = possible[0] if possible else ""
    if scene.acts and first not in scene.acts:
        wrong.append(f"act={first}")
    wrong += [
        f"{'!' if code in CURES else ''}offers={code}" for code in scene.never if code in possible
    ]
    named = [each for each in found["deviations"] if each["until"] is None]
    if scene.who is not None and state in ("alarm", "look"):
        key, values = scene.who
        own = [each["group"] for each in named]
        given = {value for each in own if each["key"] == key for value in each["values"]}
        known = {key, "all"} if scene.beside_all else {key}
        strangers = [each["key"] for each in own if each["key"] not in known]
        if given != values or strangers or not own:
            wrong.append(f"who={[(each['key'], *each['values']) for each in own]}")
    if scene.since is not None and named:
        wrong += _since(scene.since, world, named[0]["since"])
    return wrong


def _since(day: float, world: World, since: dict[str, Any]) -> list[str]:
    start = world.served_s[0] + day * DAY_S
    earliest = since["earliest"] if since["earliest"] is not None else -np.inf
    if day == 0:
        return [] if since["earliest"] is None else ["since=later"]
    slack = 0.5 * DAY_S
    return [] if earliest - slack <= start <= since["latest"] + slack else ["since"]


def main() -> None:
    """Print what is wrong in each scene, and how many runs are right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--show", action="store_true")
    asked = parser.parse_args()
    right = dangerous = runs = 0
    with tempfile.TemporaryDirectory() as folder:
        running = Process(
            "monitor", Path(folder), ledger=f"sqlite:///{folder}/ledger.db"
        ).await_ready()
        try:
            url = running.url
            for name, scene in SCENES.items():
                if not any(each in name for each in asked.only.split(",")):
                    continue
                wrong: Counter[str] = Counter()
                for seed in range(asked.runs):
                    world = scene.build(1_000 + seed)
                    found = diagnose(url, f"{name}-{seed}", world)
                    faults = grade(scene, world, found)
                    wrong.update(faults)
                    runs += 1
                    right += not faults
                    dangerous += any(each.startswith("!") for each in faults)
                    if asked.show:
                        print(json.dumps(found, indent=1))
                print(f"{name:30} {dict(wrong) or 'right'}", flush=True)
        finally:
            running.stop()
    print(f"{right} of {runs} right, {dangerous} dangerous")


if __name__ == "__main__":
    main()
