"""Lets an error that is kept or answered forget how it came about."""

from typing import TypeVar

_Error = TypeVar("_Error", bound=BaseException)


def forget_frames(error: _Error) -> _Error:
    """Drop the tracebacks of `error` and of those that led to it, and return it.

    A frame that raised may hold the error by name. Then error, traceback and frame are a cycle, and
    the body on which the frame was working stays in memory until the next full collection of
    garbage.
    """
    known: list[BaseException] = [error]
    for each in known:
        each.__traceback__ = None
        known += [
            other
            for other in (each.__cause__, each.__context__)
            if other is not None and other not in known
        ]
    return error
