"""`candor demo` and `candor traffic`: the whole cycle, and images for running servers."""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from calibration.wording import parameter
from candor.commands.options import (
    DEFAULT_URL,
    FilePath,
    Place,
    Within,
    any_store,
    cache_folder,
    read_token,
    settings,
    unused,
    web_address,
)
from candor.terminal.console import note
from candor.terminal.verb_result import PlainResult

if TYPE_CHECKING:
    from candor.demo.run import Demonstration


def demo(
    *,
    data: Path | None = None,
    out: Path = Path("demo-output"),
    seed: int = 0,
    once: bool = False,
) -> "Demonstration":
    """Run the whole cycle on real images: train, export, serve, label, drift, recalibrate, promote.

    Example: candor demo --once

    Args:
        data: Data set or folder with one (default: CANDOR_DATA, else digits).
        out: Folder for runs, models, ledger and pictures; replaces those of an earlier demo.
        seed: Seed of the training and of the order of images.
        once: Stop the server at the end instead of leaving it up.
    """
    from candor.demo.run import Demonstration, run_demo

    folder, cache = settings().data, cache_folder()
    return Demonstration(
        run_demo(source=data, data_folder=folder, cache=cache, out=out, seed=seed, once=once)
    )


def traffic(
    *,
    url: str = DEFAULT_URL,
    monitor_url: str | None = None,
    publish: bool = False,
    store: Place | None = None,
    rate: Annotated[float, Within(0.1, 1000)] = 8.0,
    clean: Annotated[float, Within(0, None)] = 60.0,
    label_delay: Annotated[float, Within(0, None)] = 10.0,
    seed: Annotated[int, Within(0, None)] = 0,
    once: bool = False,
    token_file: FilePath | None = None,
) -> PlainResult:
    """Send sample images and late labels to servers, then shifted ones, until the alarm.

    The sample (a small model of digits, with images that it was not trained on) comes with Candor.
    Use it to try an installation, its dashboards and its alerts; never on a server whose ledger you
    need.

    Example: candor traffic --publish --once

    Args:
        monitor_url: Address of `candor monitor`, if the server has its monitor apart.
        publish: First publish the sample model into the store that the server uses.
        rate: Images per second.
        clean: Seconds before the shift.
        label_delay: Seconds from an answer to its label.
        seed: Seed of the order of images and of the shift.
        once: End with the alarm instead of going on.
    """
    from candor.demo.live_traffic import LiveTraffic, TrafficPlan
    from candor.demo.sample import MODEL, SampleImages, publish_sample
    from serving.client import Client

    # the first process of a container has no default
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if publish:
        version = publish_sample(any_store(store))
        note(f"{MODEL} version {version} is in production.")
    else:
        unused(f"nothing is published without {parameter('publish', True)}", store=store)
    token, monitored = read_token(token_file), web_address(monitor_url or url)
    plan = TrafficPlan(rate_hz=rate, clean_s=clean, label_delay_s=label_delay, once=once)
    with Client(web_address(url), token=token) as server, Client(monitored, token=token) as monitor:
        images = SampleImages(seed=seed)
        return PlainResult(LiveTraffic(server, monitor, plan, images, note, monitored).run())
