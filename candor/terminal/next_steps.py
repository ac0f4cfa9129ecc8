"""What comes after a verb: a line on a terminal, never in a pipe or beside JSON."""

import shlex
import sys
from collections.abc import Sequence
from typing import Final

# By the words of a verb. Those that print it with the names of their result: OWN.
OWN: Final = ("report", "train", "export", "import", "recalibrate", "canary start")
NEXT: Final = {
    "demo": "candor train DATA",
    "traffic": "candor report MODEL",
    "calibrate": "candor import FILE --data IMAGES",
    "data check": "candor train DATA",
    "experiment": "candor train DATA",
    "promote": "candor report MODEL",
    "predict": "candor feedback FILE, if a server answered (--url)",
    "models": "candor models show MODEL",
    "models list": "candor models show MODEL",
    "models show": "candor promote MODEL VERSION",
    "models diff": "candor promote MODEL VERSION",
    "models verify": "candor serve",
    "models history": "candor models rollback MODEL",
    "models rollback": "candor report MODEL",
    "models alias": "candor models history MODEL",
    "models sign": "candor models verify MODEL",
    "models retire": "candor models gc",
    "models samples": "candor serve",
    "models gc": "candor models list",
    "canary status": "candor canary promote MODEL, once labels say that it is better",
    "canary promote": "candor report MODEL",
    "canary abort": "candor models list",
    "predictions": "candor feedback FILE",
    "feedback": "candor report MODEL",
    "ledger check": "candor report MODEL",
    "ledger prune": "candor ledger check",
    "ledger forget": "candor ledger check",
    "ledger export": "candor calibrate FILE",
    "ledger acknowledge": "candor report MODEL",
    "ledger sources": "candor report MODEL",
    "ledger backup": "candor ledger check",
    "ledger restore": "candor ledger check",
    "doctor": "candor serve",
    "config": "candor doctor",
}


def show_next(words: Sequence[str], *, model: str | None = None) -> None:
    """Name the next command after the one with these words, for a person at a terminal.

    `model`: the one that the verb was about, if it is known.
    """
    if "--json" in words or not (sys.stdout.isatty() and sys.stderr.isatty()):
        return
    verb = [each for each in words if not each.startswith("-")][:2]
    step = NEXT.get(" ".join(verb)) or NEXT.get(" ".join(verb[:1]))
    if step is not None:
        from candor.terminal.console import note

        known = shlex.quote(model.split("/")[0]) if model else "MODEL"
        note(f"Next: {step.replace('MODEL', known)}", style="dim")
