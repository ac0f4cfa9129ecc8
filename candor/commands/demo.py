"""`candor demo` and `candor traffic`: the whole cycle, and images for running servers."""

import signal
import sys
from pathlib import Path
from typing import Annotated

from candor.commands.options import (
    JsonOption,
    StoreOption,
    TokenOption,
    UrlOption,
    cache_folder,
    option,
    read_token,
    settings,
    web_address,
)
from candor.terminal.console import note, print_json


def demo(
    data: Annotated[
        Path | None,
        option("Data set or folder with one (default: CANDOR_DATA, else a download, else digits)."),
    ] = None,
    out: Annotated[
        Path,
        option("Folder for runs, models, ledger and pictures; replaces those of an earlier demo."),
    ] = Path("demo-output"),
    seed: Annotated[int, option("Seed of the training and of the order of images.")] = 0,
    once: Annotated[
        bool, option("Stop the server at the end instead of leaving it up.", "--once")
    ] = False,
    json_file: Annotated[Path | None, option("Write every figure to this file.", "--json")] = None,
) -> None:
    """Run the whole cycle on real images: train, export, serve, label, drift, recalibrate, promote.

    Example: candor demo --once
    """
    from candor.demo.run import run_demo

    run_demo(
        source=data,
        data_folder=settings().data,
        cache=cache_folder(),
        out=out,
        seed=seed,
        once=once,
        json_file=json_file,
    )


def traffic(
    url: UrlOption = "http://127.0.0.1:8080",
    monitor_url: Annotated[
        str | None,
        option(
            "Address of `candor monitor`, if the server has its monitor apart.",
            callback=web_address,
        ),
    ] = None,
    publish: Annotated[
        bool,
        option("First publish the sample model into the store that the server uses.", "--publish"),
    ] = False,
    store: StoreOption = None,
    rate: Annotated[float, option("Images per second.", min=0.1, max=1000)] = 8.0,
    clean: Annotated[float, option("Seconds before the shift.", min=0)] = 60.0,
    label_delay: Annotated[float, option("Seconds from an answer to its label.", min=0)] = 10.0,
    seed: Annotated[int, option("Seed of the order of images and of the shift.", min=0)] = 0,
    once: Annotated[bool, option("End with the alarm instead of going on.", "--once")] = False,
    token_file: TokenOption = None,
    json_out: JsonOption = False,
) -> None:
    """Send sample images and late labels to servers, then shifted ones, until the alarm.

    The sample (a small model of digits, with images that it was not trained on)
    comes with Candor. Use it to try an installation, its dashboards and its
    alerts; never on a server whose ledger you need.

    Example: candor traffic --publish --once
    """
    from candor.demo.live_traffic import LiveTraffic, TrafficPlan
    from candor.demo.sample import MODEL, SampleImages, publish_sample
    from serving.client import Client

    # the first process of a container has no default
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if publish:
        version = publish_sample(settings(store=store).opened_store)
        note(f"{MODEL} version {version} is in production.")
    token = read_token(token_file)
    plan = TrafficPlan(rate_hz=rate, clean_s=clean, label_delay_s=label_delay, once=once)
    with Client(url, token=token) as server, Client(monitor_url or url, token=token) as monitor:
        figures = LiveTraffic(
            server, monitor, plan, SampleImages(seed=seed), note, monitor_url or url
        ).run()
    if json_out:
        print_json(figures)
