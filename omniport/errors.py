"""Errors that a user can act on.

Anything raised as :class:`OmniportError` is shown as one message without a traceback; every other exception is a bug.
"""


class OmniportError(Exception):
    """A mistake in the input or the environment: exit code 2, one message that names the value and what to do."""

    exit_code = 2


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
