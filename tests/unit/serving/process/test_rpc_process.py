import asyncio
import subprocess
from typing import Any, cast

import pytest

from serving.errors import ListenError
from serving.process import rpc_process
from serving.process.rpc_process import RpcProcess


class Ended:
    stdin = stdout = None

    def wait(self) -> int:
        return -9


class Refused(RpcProcess):
    """Its process has ended, and a new one cannot be started at first, for different reasons."""

    def __init__(self) -> None:
        self._process = cast("subprocess.Popen[bytes]", Ended())
        self.reasons: list[Any] = [BlockingIOError("no process"), ListenError("in use"), OSError()]
        self.started = asyncio.Event()

    async def start(self) -> int:
        if self.reasons:
            raise self.reasons.pop(0)
        self.started.set()
        return 1


def test_a_start_that_the_system_refuses_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_process, "RESTART_S", 0)

    async def keep() -> None:
        refused = Refused()
        keeping = asyncio.ensure_future(refused.keep())
        started = asyncio.ensure_future(refused.started.wait())
        await asyncio.wait((keeping, started), return_when=asyncio.FIRST_COMPLETED)
        assert not keeping.done()
        keeping.cancel()

    asyncio.run(keep())
