"""`candor demo` and `candor traffic`: the whole cycle on real images, and sample images sent to
running servers.
"""

import signal
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from candor.commands.options import (
    JsonOption,
    StoreOption,
    TokenOption,
    UrlOption,
    cache_folder,
    read_token,
    settings,
    web_address,
)


def demo(
    data: Annotated[
        Path | None,
        typer.Option(
            help="Data set or folder with one (default: CANDOR_DATA, else a download, else digits)."
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for runs, models, ledger and pictures; replaces those of an earlier demo."
        ),
    ] = Path("demo-output"),
    seed: Annotated[int, typer.Option(help="Seed of the training and of the order of images.")] = 0,
    once: Annotated[
        bool, typer.Option("--once", help="Stop the server at the end instead of leaving it up.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every figure to this file.")
    ] = None,
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
        typer.Option(
            help="Address of `candor monitor`, if the server has its monitor apart.",
            callback=web_address,
        ),
    ] = None,
    publish: Annotated[
        bool,
        typer.Option(
            "--publish", help="First publish the sample model into the store that the server uses."
        ),
    ] = False,
    store: StoreOption = None,
    rate: Annotated[float, typer.Option(min=0.1, max=1000, help="Images per second.")] = 8.0,
    clean: Annotated[float, typer.Option(min=0, help="Seconds before the shift.")] = 60.0,
    label_delay: Annotated[
        float, typer.Option(min=0, help="Seconds from an answer to its label.")
    ] = 10.0,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the order of images and of the shift.")
    ] = 0,
    once: Annotated[
        bool, typer.Option("--once", help="End with the alarm instead of going on.")
    ] = False,
    token_file: TokenOption = None,
    json_out: JsonOption = False,
) -> None:
    """Send sample images with late labels to running servers, then shifted ones, until the drift
    alarm.

    The sample (a small model of digits, with images that it was not trained on)
    comes with Candor. Use it to try an installation, its dashboards and its
    alerts; never on a server whose ledger you need.

    Example: candor traffic --publish --once
    """
    from candor.demo.live_traffic import LiveTraffic, TrafficPlan
    from candor.demo.sample import MODEL, SampleImages, publish_sample
    from candor.terminal.console import print_json, stderr
    from serving.client import Client

    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(0)
    )  # the first process of a container has no default
    if publish:
        version = publish_sample(settings(store=store).opened_store)
        stderr.print(f"{MODEL} version {version} is in production.")
    token = read_token(token_file)
    plan = TrafficPlan(rate_hz=rate, clean_s=clean, label_delay_s=label_delay, once=once)
    with Client(url, token=token) as server, Client(monitor_url or url, token=token) as monitor:
        say = partial(stderr.print, soft_wrap=True)
        figures = LiveTraffic(
            server, monitor, plan, SampleImages(seed=seed), say, monitor_url or url
        ).run()
    if json_out:
        print_json(figures)
