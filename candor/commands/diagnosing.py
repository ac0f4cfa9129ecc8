"""`candor doctor`, `candor health`, `candor config show`: what is wrong, and the settings."""

import dataclasses
from typing import Annotated

import typer

from candor.commands.options import JsonOption, option, settings
from candor.terminal.console import note, print_json, stdout

app = typer.Typer(name="config", help="See how Candor is configured.", no_args_is_help=True)


def doctor(json_out: JsonOption = False) -> None:
    """Check this installation, one line a check, and say what to do about what is wrong.

    It looks at the system, packages, ONNX Runtime, settings, the store and its
    bundles, the ledger, the clock, ports, access and permissions, and changes
    nothing. Exit code 1 if something is broken.

    Example: candor doctor
    """
    from serving.doctor import examine

    found = []
    for each in examine():
        found.append(each)
        if not json_out:
            line = f"{each.check}: {each.found}"
            if each.advice is not None:
                line = f"{line.rstrip('.')}{'' if line.endswith('?') else '.'} To do: {each.advice}"
            stdout.print(f"{each.state:8} {' '.join(line.split())}")
    if json_out:
        print_json([dataclasses.asdict(each) for each in found])
    if any(each.state == "broken" for each in found):
        raise typer.Exit(1)


def health(
    ready: Annotated[
        bool, option("Ask whether it has a model and accepts requests.", "--ready")
    ] = False,
    json_out: JsonOption = False,
) -> None:
    """Ask the server of this machine whether it is alive. Exit code 1 if it is not.

    CANDOR_HOST, CANDOR_PORT and CANDOR_TLS_CERTIFICATE say where it is.

    Example: candor health --ready
    """
    from serving.health import ask

    found = ask(settings(), ready=ready)
    if json_out:
        print_json(dataclasses.asdict(found))
    elif not found.alive:
        note(f"candor: {found.url}: {found.reason}")
    else:
        stdout.print(f"{found.url}: {'ready' if ready else 'alive'}")
    if not found.alive:
        raise typer.Exit(1)


@app.command()
def show(
    changed: Annotated[bool, option("Show only what is not at its default.", "--changed")] = False,
    json_out: JsonOption = False,
) -> None:
    """Print every setting: its value, where that comes from, and what it means. Secrets are masked.

    Example: candor config show --changed
    """
    from serving.settings import shown

    listed = [each for each in shown(settings()) if not changed or each.source != "default"]
    if json_out:
        print_json([dataclasses.asdict(each) for each in listed])
        return
    for each in listed:
        stdout.print(f"{each.variable} = {each.value}  ({each.source})")
        stdout.print(f"    {each.meaning}")
    if not listed:
        stdout.print("Every setting is at its default.")
