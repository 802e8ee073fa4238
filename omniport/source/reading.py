"""Python source from outside, read as hostile input: text and trees that every pass can walk.

The parsers of Python and libcst recurse: the one raises RecursionError or MemoryError on an expression of some thousand
levels, the other ends the process.  So text has a limit in bytes, a tree one in levels, and libcst sees only what the
other parser has read.
"""

from __future__ import annotations

import ast
import codecs
import contextlib
import functools
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniport.errors import OmniportError
from omniport.source.nodes import IS_NODE

if TYPE_CHECKING:
    import libcst

SOURCE_LIMIT = 8 << 20  # bytes of one module; the largest of diffusers has 0.3 MB
MAX_NESTING = 100  # levels of a syntax tree; the deepest of diffusers has 53, a chain of ``elif``

#: what ``str.splitlines`` takes for the end of a line and Python does not
_ODD_BREAK = re.compile("[\v\f\x1c-\x1e\x85\u2028\u2029]")


def read_source(path: Path, file: str) -> str:
    r"""The text of a module, with ``\n`` at the end of its lines and without byte order mark.

    The encoding is UTF-8 or the one that the file declares on its first two lines, as Python reads it.

    Raises:
        OmniportError: it cannot be read, is larger than 8 MiB, is not in its encoding, or holds a character that no
            source holds: a null byte, or a line break that editors and Python count differently.
    """
    try:
        if path.stat().st_size > SOURCE_LIMIT:
            raise OmniportError(f"{file}: larger than {SOURCE_LIMIT} bytes; refused")
        data = path.read_bytes()
    except OSError as error:
        raise OmniportError(f"{file}: cannot be read: {error.strerror}") from None
    try:
        text = data.decode("utf-8-sig") if not _declares(data) else _declared(data)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise OmniportError(f"{file}:{line}: not {error.encoding}, and the file declares no other encoding") from None
    except (SyntaxError, LookupError, ValueError) as error:
        raise OmniportError(f"{file}:1: not readable: {error}") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    found = _ODD_BREAK.search(text) if not text.isascii() or "\f" in text or "\v" in text else None
    position = text.find("\0") if found is None else found.start()
    if position >= 0:
        line = text.count("\n", 0, position) + 1
        raise OmniportError(f"{file}:{line}: holds the character {text[position]!r}, which source does not; refused")
    return text


def _declares(data: bytes) -> bool:
    """Whether the first two lines may name an encoding."""
    return b"coding" in b"".join(data.split(b"\n", 2)[:2])


def _declared(data: bytes) -> str:
    """The text in the encoding that it declares, which must be one of text."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    if not getattr(codecs.lookup(encoding), "_is_text_encoding", True):
        raise LookupError(f"{encoding} is no encoding of text")
    return data.decode(encoding)


def parse(text: str, file: str, first: int = 1) -> ast.Module:
    """The tree of a module, or of the part of one that begins on line ``first``.

    Raises:
        OmniportError: it is not valid Python, or nested deeper than 100 levels; the message gives file and line.
    """
    try:
        tree = ast.parse("\n" * (first - 1) + text if first > 1 else text)
    except SyntaxError as error:
        raise OmniportError(f"{file}:{error.lineno or first}: not valid Python: {error.msg}") from None
    except (RecursionError, MemoryError):
        raise OmniportError(f"{file}:{first}: nested deeper than {MAX_NESTING} levels; refused") from None
    except ValueError as error:
        raise OmniportError(f"{file}:{first}: not valid Python: {error}") from None
    check_nesting(tree, file)
    return tree


def parse_cst(text: str, file: str) -> libcst.Module:
    """As :func:`parse`, as a tree of libcst."""
    parse(text, file)
    return reparse_cst(text, file)


def reparse_cst(text: str, file: str, first: int = 1) -> libcst.Module:
    """As :func:`parse_cst`, of text that :func:`parse` has read; ``first`` is the line of the file it begins on."""
    import libcst

    try:
        with _taken_as_read(libcst):
            return libcst.parse_module(text)
    except (libcst.ParserSyntaxError, RecursionError) as error:
        place = f"{file}:{getattr(error, 'raw_line', 1) + first - 1}"
        raise OmniportError(f"{place}: libcst cannot read it; newer Python syntax than it knows?") from None


@contextlib.contextmanager
def _taken_as_read(libcst: Any) -> Iterator[None]:
    """The parser's nodes are not checked one by one, which is a fifth of its time: it makes none that are wrong.

    Nearly half of them are blanks and line ends, which are shared: no pass looks at which of them one is.
    """
    node = libcst.CSTNode
    check = node.__post_init__
    shared = {name: getattr(libcst, name) for name in ("SimpleWhitespace", "Newline")}
    node.__post_init__ = _unchecked
    for name, kind in shared.items():
        setattr(libcst, name, functools.lru_cache(maxsize=1000)(kind))
    try:
        yield
    finally:
        node.__post_init__ = check
        for name, kind in shared.items():
            setattr(libcst, name, kind)


def _unchecked(node: object) -> None: ...


def check_nesting(tree: ast.AST, file: str) -> None:
    """Raise OmniportError if a tree is nested deeper than 100 levels; links of one chain of ``and`` count each."""
    line = 1
    level = [tree]
    for _ in range(MAX_NESTING):
        below: list[ast.AST] = []
        for node in level:
            if type(node) is ast.BoolOp and len(node.values) > MAX_NESTING:
                raise OmniportError(f"{file}:{node.lineno}: more than {MAX_NESTING} terms in one condition; refused")
            for value in node.__dict__.values():  # as ast.iter_child_nodes, at half the cost
                kind = type(value)
                if IS_NODE[kind]:
                    below.append(value)
                elif kind is list:
                    below += [item for item in value if IS_NODE[type(item)]]
        if not below:
            return
        level = below
        line = max(line, getattr(below[0], "lineno", line))
    raise OmniportError(f"{file}:{line}: nested deeper than {MAX_NESTING} levels; refused")
