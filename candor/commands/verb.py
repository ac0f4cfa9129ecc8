"""A verb in Python: its choices are checked, and what cannot be done is `Refused`."""

import inspect
import math
from collections.abc import Callable, Mapping
from functools import wraps
from types import NoneType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, get_args, get_origin

from calibration.wording import parameter
from candor.commands.options import Within, WrongUse, signature_of, signed

P = ParamSpec("P")
R = TypeVar("R")


class Refused(Exception):
    """A verb cannot do what was asked; its text says why, and what to do.

    The error behind it is its cause. A notebook shows the text alone.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"candor: {self}"]


def verb(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function as Python calls it. It raises Refused; the shell calls what it wraps."""
    signature = signature_of(function)

    @wraps(function)
    def call(*given: P.args, **options: P.kwargs) -> R:
        try:
            check(signature.parameters, signature.bind(*given, **options).arguments)
            return function(*given, **options)
        except Exception as error:
            why = reason(error)
            if why is None:
                raise
            raise Refused(why) from error

    return signed(call, signature)


def check(parameters: Mapping[str, inspect.Parameter], given: Mapping[str, Any]) -> None:
    """Raise WrongUse for a value that is none of the choices, or out of its range."""
    for name, value in given.items():
        annotation = parameters[name].annotation
        choices = _choices(annotation)
        if value is not None and choices and value not in choices:
            shown = ", ".join(map(str, choices))
            raise WrongUse(f"{parameter(name)}: got {value!r}; choose one of {shown}")
        for each in get_args(annotation)[1:] if get_origin(annotation) is Annotated else ():
            if isinstance(each, Within) and value is not None:
                _check_range(name, value, each)


def _choices(annotation: Any) -> tuple[Any, ...]:
    """The values of a Literal, also if it may be None or is annotated."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    parts = [each for each in get_args(annotation) if each is not NoneType]
    parts = parts[:1] if get_origin(annotation) is Annotated else parts
    return _choices(parts[0]) if len(parts) == 1 else ()


def _check_range(name: str, value: Any, limits: Within) -> None:
    least, most = limits
    lowest, highest = -math.inf if least is None else least, math.inf if most is None else most
    if not isinstance(value, int | float) or not lowest <= value <= highest:
        shown = f"{least:g} or more" if most is None else f"{least:g} to {most:g}"
        raise WrongUse(f"{parameter(name)}: got {value!r}; expected {shown}")


def reason(error: Exception) -> str | None:
    """Return why a verb failed, and what to do; None if it is a bug."""
    from candor.terminal.console import sentence

    if isinstance(error, ModuleNotFoundError):
        from model_store.installation import extra_of, install_command

        extra = extra_of(error.name or "")
        if extra is None:
            return None
        return f"this needs the extra {extra!r} ({error}): {install_command(extra)}"
    return sentence(error) if isinstance(error, _expected_errors()) else None


def _expected_errors() -> tuple[type[Exception], ...]:
    """Return the errors that are no bugs; imported only after one, for a quick start."""
    from httpx import HTTPError
    from sqlalchemy.exc import DBAPIError

    from calibration.calibrators.affine import CalibratorInvalid
    from candor.predictions.errors import PredictionsRefused
    from hosting.errors import ServingError
    from model_store.errors import ModelStoreError
    from monitoring.errors import MonitoringError
    from serving.client import ServerRefused, TokenInvalid
    from training.errors import TrainingError

    rooms = (ModelStoreError, MonitoringError, ServerRefused, ServingError, TrainingError)
    own = (CalibratorInvalid, PredictionsRefused, TokenInvalid, WrongUse)
    return (*rooms, *own, HTTPError, DBAPIError, OSError)
