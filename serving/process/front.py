"""A front: the process that accepts connections, reads HTTP, and decodes small images for the main
process.

It loads no model and opens no ledger. It gets its settings from the main process, ends with it, and
drains when that says so; signals are the main process's to answer.
"""

import asyncio
import json
import os
import socket

import uvloop

from serving.child import obey_only
from serving.fronts.front_app import FrontApp
from serving.fronts.front_images import FrontImages
from serving.fronts.front_lane import FrontLane
from serving.fronts.main_link import MainLink
from serving.fronts.messages import FrontSetup
from serving.http.auth import AccessControl
from serving.http.grants import Grant
from serving.http.own_hosts import OwnHosts
from serving.process.event_loop import BoundedLoop
from serving.process.listener import FORCED, DrainingServer
from serving.process.logs import configure_logging
from serving.settings import load_settings


def main(parent: int, listener: int) -> None:
    """Run until the server of process id `parent` drains or ends. `listener` is the number of a
    listening socket.
    """
    obey_only(parent)
    uvloop.run(_run(listener), loop_factory=BoundedLoop)


async def _run(listener: int) -> None:
    draining, set_up = asyncio.Event(), asyncio.Event()
    known: list[FrontSetup] = []
    access = AccessControl()

    def renew(setup: FrontSetup) -> None:
        known[:] = [setup]
        if set_up.is_set():
            access.use(_grants(setup))
        set_up.set()

    link = MainLink(drain=draining.set, lost=lambda: os._exit(FORCED), renew=renew)
    connection = socket.socket(fileno=os.dup(0))
    await asyncio.get_running_loop().create_unix_connection(
        lambda: link.connection, sock=connection
    )
    await set_up.wait()
    settings = load_settings(**json.loads(known[0].settings))
    configure_logging(settings.log_level)
    access = AccessControl(_grants(known[0]), hosts=OwnHosts(settings.host, *settings.hosts))
    images = FrontImages(settings, access)
    app = FrontApp(settings, images=images, link=link)
    lane = (
        None
        if settings.traces
        else FrontLane(images=images, link=link, draining=lambda: app.draining)
    )

    def drain() -> None:
        app.draining = True

    server = DrainingServer(app, settings, drain=drain, lane=lane)
    waiting = asyncio.ensure_future(_drain_after(draining, server))
    await server.serve(sockets=[socket.socket(fileno=listener)])
    waiting.cancel()


def _grants(setup: FrontSetup) -> list[Grant]:
    return [Grant(token.digest, frozenset(token.scopes), token.name) for token in setup.tokens]


async def _drain_after(draining: asyncio.Event, server: DrainingServer) -> None:
    await draining.wait()
    server.begin_drain()
