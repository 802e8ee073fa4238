"""Errors that a user can act on.

Anything raised as :class:`OmniportError` is shown as one message without a traceback; every other exception is a bug.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: what a terminal obeys or hides, and halves of surrogate pairs, which cannot be printed
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """``text`` with every character that a terminal would obey written as an escape; line breaks and tabs stay."""
    return _UNPRINTABLE.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), text)


class OmniportError(Exception):
    """A mistake in the input or the environment: exit code 2, one message that names the value and what to do."""

    exit_code = 2

    def __str__(self) -> str:
        return printable(super().__str__())


class UnsupportedError(OmniportError):
    """The source holds a construct that no pass understands; the message names file, line and construct.

    Args:
        construct: what was met, in the words of the source.
        file: path of the source, relative to the package it belongs to.
        line: 1-based line of the construct.
    """

    def __init__(self, construct: str, file: str = "", line: int = 0) -> None:
        self.construct, self.file, self.line = construct, file, line
        where = f"{file}:{line}: " if file else ""
        super().__init__(f"{where}{construct}")


class FindingsError(OmniportError):
    """The command ran and found something to fix: exit code 1."""

    exit_code = 1


class InternalError(OmniportError):
    """A pass met source of a form that it does not know and has no words for; what it raised is the cause."""


def refusing(what: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let a pass over the source of others raise nothing but OmniportError; ``what`` says what the pass does.

    Each pass names the constructs that it refuses.  What else it meets is a form that nobody thought of: the user gets
    one message with the place in our code, and nothing is written.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except OmniportError:
                raise
            except Exception as error:
                import traceback

                frame = traceback.extract_tb(error.__traceback__)[-1]
                place = f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"
                reason = " ".join(str(error).split())[:200]
                raise InternalError(
                    f"{what}: the source has a form that omniport does not know ({place}: {reason}); "
                    "nothing was written; please report it with the source"
                ) from error

        return run

    return decorate
