"""The shell around Candor's functions: a function becomes a command.

Its positional parameters are arguments, those by keyword are options. Type and default come from
the signature, help from `Args:` of the docstring. What it returns is printed, or written as JSON
with --json; its exit code is the command's.
"""

import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import typer

from candor.commands.options import (
    PYTHON,
    RARE,
    SHARED,
    WrongUse,
    option_texts,
    signature_of,
    signed,
)
from candor.commands.verb import check

Verb = Callable[..., object]
_JSON: Final = "json_out"
_HELP_RARE: Final = "help_rare"


def command(function: Verb, run: Verb | None = None) -> Verb:
    """Return a function as Typer takes it.

    `run` is called in its place, if the command does more: it takes the function's parameters as
    `**given`, and declares those that only the command has.
    """
    called = inspect.unwrap(run or function)
    declared = [each for each in (function, run) if each is not None]
    known = {name: each for one in declared for name, each in signature_of(one).parameters.items()}

    def invoke(**given: Any) -> None:
        as_json = given.pop(_JSON, False)
        given.pop(_HELP_RARE, None)
        # Typer gives None for what is empty by default
        typed = {
            name: known[name].default if each is None else each for name, each in given.items()
        }
        try:
            check(known, typed)
            code = _shown(called(**typed), as_json=as_json)
        except WrongUse as error:
            raise typer.BadParameter(str(error)) from error
        raise typer.Exit(code)

    invoke.__name__ = function.__name__
    invoke.__doc__ = _help(function)
    parameters = [each for one in declared for each in _parameters(one)]
    parameters += _json(run or function)
    if any(_is_rare(each) for each in parameters):
        parameters.append(_help_rare())
    return signed(invoke, inspect.Signature(parameters))


def without_verb(function: Verb) -> Verb:
    """Return what a noun does without a verb; with one, options stand after the verb."""
    alone = command(function)

    def invoke(context: typer.Context, **given: Any) -> None:
        if context.invoked_subcommand is None:
            alone(**given)
        elif any(given.values()):
            raise typer.BadParameter(
                f"write options after the verb: candor {context.info_name} "
                f"{context.invoked_subcommand} ..."
            )

    parameters = inspect.signature(alone).parameters.values()
    kind = inspect.Parameter.KEYWORD_ONLY
    asked = inspect.Parameter("context", kind, annotation=typer.Context)
    return signed(invoke, inspect.Signature([asked, *parameters]))


def _is_rare(parameter: inspect.Parameter) -> bool:
    return bool(get_args(parameter.annotation)[1].hidden)


def _help_rare() -> inspect.Parameter:
    """--help-rare, which ends the command before anything is read."""
    info: Any = typer.Option(
        "--help-rare", help="Show the rare options.", is_eager=True, callback=_show_rare
    )
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(_HELP_RARE, kind, annotation=Annotated[bool, info], default=False)


def _show_rare(context: typer.Context, asked: bool) -> None:
    """Print the help of the options that are hidden, and end."""
    if asked:
        command: Any = context.command  # whose arguments can be hidden, too
        command.help = "What --help leaves out."
        for each in command.params:
            each.hidden = not each.hidden
        print(context.get_help())  # noqa: T201
        raise typer.Exit


def _shown(made: object, *, as_json: bool) -> int:
    """Print what a function returned; return the exit code. A number is one."""
    if made is None or isinstance(made, int):
        return made or 0
    from candor.terminal.verb_result import VerbResult, print_made

    if not isinstance(made, VerbResult):
        raise TypeError(f"a verb returned {type(made).__name__}, which nothing can print")
    print_made(made, as_json=as_json)
    return int(made.failed)


def _parameters(function: Verb) -> Iterator[inspect.Parameter]:
    texts = argument_texts(function)
    for parameter in signature_of(function).parameters.values():
        metadata = _metadata(parameter.annotation)
        if parameter.kind is inspect.Parameter.VAR_KEYWORD or PYTHON in metadata:
            continue
        is_option = parameter.kind is inspect.Parameter.KEYWORD_ONLY or _spelled(metadata) != []
        text = texts.get(parameter.name) or SHARED[parameter.name]
        yield _declared(
            parameter.name, parameter.annotation, parameter.default, text, is_option=is_option
        )


def _declared(
    name: str, annotation: Any, default: object, text: str, *, is_option: bool
) -> inspect.Parameter:
    """A parameter with the annotation that Typer reads."""
    metadata = _metadata(annotation)
    kind = next((each for each in metadata if isinstance(each, type)), None) or _typed(annotation)
    readers = [each for each in metadata if isinstance(each, types.FunctionType)]
    details: dict[str, Any] = {"help": text, "hidden": RARE in metadata}
    if readers:
        details["parser"] = _reader(readers[0])
    if is_option:
        names = _spelled(metadata) or [_option(name)]
        if kind is bool and default is True:
            names = [f"{names[0]}/--no-{names[0].removeprefix('--')}"]
        details["show_default"] = default not in (None, False, ())
        info: Any = typer.Option(*names, **details)
    else:
        info = typer.Argument(**details)
    texts = (each for each in metadata if isinstance(each, str) and each not in (RARE, PYTHON))
    info.metavar = next((each for each in texts if not each.startswith("--")), None)
    required = default is inspect.Parameter.empty
    if default == () or default is None:
        kind, default = kind | None, None
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[kind, info],
        default=inspect.Parameter.empty if required else default,
    )


def _reader(read: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return parse


def _metadata(annotation: Any) -> tuple[Any, ...]:
    """What Annotated says of a type, also of one in a union."""
    if get_origin(annotation) is Annotated:
        return get_args(annotation)[1:]
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(each for part in get_args(annotation) for each in _metadata(part))
    return ()


def _spelled(metadata: tuple[Any, ...]) -> list[str]:
    """How an option is spelled, if not as its parameter."""
    return [each for each in metadata if isinstance(each, str) and each.startswith("--")]


def _option(name: str) -> str:
    return f"--{name.strip('_').replace('_', '-')}"


def _typed(annotation: Any) -> Any:
    """The type of what is typed: of several, a path, or text before a list."""
    if get_origin(annotation) is Annotated:
        return _typed(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [each for each in get_args(annotation) if each is not types.NoneType]
        if any(get_origin(each) is PathLike for each in kinds):
            return Path
        return str if str in kinds else _typed(kinds[0])
    if get_origin(annotation) is Sequence or get_origin(annotation) is list:
        return types.GenericAlias(list, _typed(get_args(annotation)[0]))
    known = (str, int, float, bool, Path)
    is_known = annotation in known or get_origin(annotation) is Literal
    if not is_known and not (isinstance(annotation, type) and issubclass(annotation, StrEnum)):
        raise TypeError(f"an option cannot be a {annotation}")
    return annotation


def _json(function: Verb) -> list[inspect.Parameter]:
    """--json of all that return something to print."""
    if inspect.signature(function).return_annotation in (None, int):
        return []
    return [_declared(_JSON, Annotated[bool, "--json"], False, SHARED["json"], is_option=True)]


def _help(function: Verb) -> str:
    """What the docstring says before its sections."""
    text = inspect.cleandoc(function.__doc__ or "")
    return paragraphs(re.split(r"\n\n(?:Args|Returns|Raises):\n", text)[0])


def paragraphs(text: str) -> str:
    """The text with each paragraph on a line, which a terminal wraps."""
    return "\n\n".join(" ".join(each.split()) for each in text.split("\n\n"))


def argument_texts(function: Verb) -> Mapping[str, str]:
    """What the docstring says of each parameter, on one line."""
    text = inspect.cleandoc(function.__doc__ or "")
    found = re.search(r"(?:^|\n)Args:\n((?:(?: {4}.*)?(?:\n|$))+)", text)
    entries = re.split(r"\n {4}(?=\w+: )", f"\n{found[1].rstrip()}")[1:] if found else []
    named = (each.partition(": ") for each in entries)
    own = {name: " ".join(said.split()) for name, _, said in named}
    return {**option_texts(function), **own}
