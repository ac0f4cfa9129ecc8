"""`candor doctor`, `candor health`, `candor config show`: what is wrong, and the settings."""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from candor.commands.options import settings
from candor.terminal.console import note
from candor.terminal.verb_result import PlainResult, VerbResult

if TYPE_CHECKING:
    from serving.doctor import CheckResult


class Checkup(VerbResult):
    """Checks of an installation, each printed once it is done."""

    def __init__(self, checks: "Iterator[CheckResult]") -> None:
        self._running, self._done = checks, list["CheckResult"]()

    def _checks(self) -> "Iterator[CheckResult]":
        yield from self._done
        for each in self._running:
            self._done.append(each)
            yield each

    @property
    def failed(self) -> bool:
        return any(each.state == "broken" for each in self._checks())

    def document(self) -> Iterator[str]:
        for each in self._checks():
            line = f"{each.check}: {each.found}"
            if each.advice is not None:
                line = f"{line.rstrip('.')}{'' if line.endswith('?') else '.'} To do: {each.advice}"
            yield f"{each.state:8} {' '.join(line.split())}"

    def as_dict(self) -> list[dict[str, Any]]:
        return [dataclasses.asdict(each) for each in self._checks()]


def doctor() -> Checkup:
    """Check this installation, one line a check, and say what to do about what is wrong.

    It looks at the system, packages, ONNX Runtime, settings, the store and its bundles, the ledger,
    the clock, ports, access and permissions, and changes nothing. Exit code 1 if something is
    broken.

    Example: candor doctor
    """
    from serving.doctor import examine

    return Checkup(iter(examine()))


def health(*, ready: bool = False) -> PlainResult:
    """Ask the server of this machine whether it is alive. Exit code 1 if it is not.

    CANDOR_HOST, CANDOR_PORT and CANDOR_TLS_CERTIFICATE say where it is.

    Example: candor health --ready

    Args:
        ready: Ask whether it has a model and accepts requests.
    """
    from serving.health import ask

    found = ask(settings(), ready=ready)
    if not found.alive:
        note(f"candor: {found.url}: {found.reason}")
        return PlainResult(dataclasses.asdict(found), failed=True)
    return PlainResult(dataclasses.asdict(found), f"{found.url}: {'ready' if ready else 'alive'}")


def show(*, changed: bool = False) -> PlainResult:
    """Print every setting: its value, where that comes from, and what it means. Secrets are masked.

    Example: candor config show --changed

    Args:
        changed: Show only what is not at its default.
    """
    from hosting.settings import shown

    listed = [each for each in shown(settings()) if not changed or each.source != "default"]
    lines = (
        f"{each.variable} = {each.value}  ({each.source})\n    {each.meaning}" for each in listed
    )
    unchanged = () if listed else ("Every setting is at its default.",)
    return PlainResult([dataclasses.asdict(each) for each in listed], *lines, *unchanged)
