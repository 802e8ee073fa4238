"""What a fuzz target is, how one is run, and how inputs are broken."""

from __future__ import annotations

import functools
import json
import random
import re
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from omniport.errors import InternalError, OmniportError

SECONDS = 30.0  # of CPU for one case; more is a hang
WAITING = 20  # times as much of wall time: a busy machine is no hang


class Hang(BaseException):
    """A case did not end; no ``except Exception`` of ours may swallow it."""


@dataclass(frozen=True)
class Target:
    """One reader, pass or editor.

    Attributes:
        name: short, unique.
        inputs: the class of inputs, for the table.
        property: what must hold of every case.
        strategy: makes a case; called late, so that importing the targets stays cheap.
        run: takes a case; it may return anything or raise OmniportError, and asserts the property.
        share: of all cases, relative to the other targets.
        most: never more cases than this in one run, for targets that take long.
    """

    name: str
    inputs: str
    property: str
    strategy: Callable[[], st.SearchStrategy[Any]]
    run: Callable[[Any], None]
    share: float = 1.0
    most: int = 1_000_000


@dataclass(frozen=True)
class Tally:
    """What a run of one target did; ``unknown`` counts refusals that have no words of their own, by place."""

    cases: int
    refused: int
    seconds: float
    unknown: dict[str, int] = field(default_factory=dict)


def run_target(target: Target, cases: int, number: int = 0) -> Tally:
    """Try ``cases`` inputs, the same for the same ``number``.

    Raises:
        BaseException: what the smallest failing case raised; hypothesis prints the case.
    """
    count = {"cases": 0, "refused": 0}
    unknown: Counter[str] = Counter()

    @seed(number)
    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(target.strategy())
    def one(case: Any) -> None:
        count["cases"] += 1
        with limited(SECONDS):
            try:
                target.run(case)
            except OmniportError as error:
                count["refused"] += 1
                if isinstance(error, InternalError):
                    unknown[_place(error)] += 1
                assert_clear(error)

    started = time.monotonic()
    one()
    return Tally(count["cases"], count["refused"], round(time.monotonic() - started, 1), dict(unknown))


def _place(error: InternalError) -> str:
    frame = traceback.extract_tb(error.__cause__.__traceback__)[-1]  # type: ignore[union-attr]
    return f"{type(error.__cause__).__name__} in {Path(frame.filename).name}:{frame.lineno}"


def assert_clear(error: OmniportError) -> None:
    """A message of ours: it says something, is not endless, and holds no escape codes that a terminal would obey."""
    text = str(error)
    assert text.strip()
    assert len(text) < 20_000, f"a message of {len(text)} characters"
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\x9b]", text), f"control characters in {text!r}"


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise :class:`Hang` in the main thread after ``seconds`` of CPU, or many times as long in all."""

    def ring(signum: int, frame: object) -> None:
        raise Hang(f"no end within {seconds} s of CPU, or {WAITING * seconds} s in all")

    timers = ((signal.ITIMER_PROF, signal.SIGPROF, seconds), (signal.ITIMER_REAL, signal.SIGALRM, WAITING * seconds))
    before = [signal.signal(number, ring) for _, number, _ in timers]
    for timer, _, limit in timers:
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for (timer, number, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


# Inputs ------------------------------------------------------------------------------------------------------------

#: strings that break something somewhere
EVIL = (
    "",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "a\0b",
    "a\nb",
    "\x1b[31m",
    "\u202e",
    "\u2028",
    "\ud800".encode("utf-8", "replace").decode(),
    "__class__",
    "__init__",
    "self",
    "None",
    "class",
    "é",
    "ﬁ",
    "x" * 5000,
    '"""',
    "'''",
    "\\",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "{0.__class__}",
    "%s%n",
    "# type: ignore",
    "#@x:1",
    '"; import os; os.system("true"); "',
    "]]>",
    "| a | b |",
    "`rm`",
    "<script>",
    "${HOME}",
    "=cmd|' /C calc'!A0",
    "con",
    "nul.txt",
    ".",
    "-rf",
    "--config",
    "true",
    "1e999",
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.sampled_from(EVIL),
    st.text(max_size=20),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=4)),
    max_leaves=8,
)


def broken_json(samples: list[Any]) -> st.SearchStrategy[Any]:
    """JSON values of the samples with keys and values replaced, dropped, doubled and moved."""

    def build(sample: Any, edits: list[tuple[int, int, Any]]) -> Any:
        value = json.loads(json.dumps(sample))
        for kind, place, new in edits:
            value = _edit(value, kind % 5, place, new)
        return value

    return st.builds(
        build, st.sampled_from(samples), st.lists(st.tuples(st.integers(0, 4), st.integers(0, 999), VALUES), max_size=4)
    )


def _edit(value: Any, kind: int, place: int, new: Any) -> Any:
    spots = list(_spots(value))
    if not spots:
        return new
    holder, key = spots[place % len(spots)]
    if kind == 0:
        holder[key] = new
    elif kind == 1:
        del holder[key]
    elif kind == 2 and isinstance(holder, dict):
        holder[str(new)[:6000]] = holder.pop(key)
    elif kind == 3:
        holder[key] = [holder[key], new]
    else:
        other, name = spots[(place * 7 + 3) % len(spots)]
        holder[key] = json.loads(json.dumps(other[name]))
    return value


def _spots(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _spots(inner)


def json_text(value: Any) -> str:
    """JSON text, NaN and infinities included."""
    return json.dumps(value, ensure_ascii=False)


def broken_bytes(samples: list[bytes]) -> st.SearchStrategy[bytes]:
    """The samples with bytes changed, cut, doubled and put in."""
    pieces = st.one_of(
        st.binary(max_size=8),
        st.sampled_from([b"\xef\xbb\xbf", b"\0", b"NaN", b"{", b"[" * 100, b"\xff", b"\n", b'"', b"1e999", b"\\ud800"]),
    )

    def build(sample: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
        data = sample
        for place, length, piece in edits:
            begin = int(place * len(data))
            data = data[:begin] + piece + data[begin + length :]
        return data

    edits = st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0, 0, 1, 2, 9, 10**9]), pieces), max_size=4)
    return st.one_of(st.builds(build, st.sampled_from(samples), edits), st.binary(max_size=64))


#: tokens and lines that turn one program into another
FRAGMENTS = (
    *"()[]{}:,=*@.\n\t#\"\\", "**", "->", "    ", "'''", "None", "True", "False", "0", "-1", "1e400",
    "self", "super()", "config", "hidden_states", "encoder_hidden_states", "attention_mask", "image_rotary_emb",
    "lambda: ", "yield ", "await ", "async ", "return ", "raise ", "del ", "global x\n", "nonlocal x\n", "import os\n",
    "from x import *\n", "pass", "...", "not ", " if a else b", " for x in y", " and ", " or ", " := ", "f'{x}'",
    "nn.Linear", "nn.ModuleList", "torch.cat", "self.attn", "self.processor", "forward", "__init__", "**kwargs",
    "exec('1')", "eval", "getattr(self, name)", "setattr(self, n, v)", "type(self)", "locals()", "globals()",
    "match x:", "try:", "with a as b:", "while True:", "é", "ﬁ", "\x0c", "\u2028", "\0", "\r", "x" * 300, "(" * 120,
    "-" * 300, "not " * 150, "1 + " * 150, " and a" * 150, ".a" * 150, "# @x:1\n", "#@f.py:1",
)  # fmt: skip

_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")


def broken_source(samples: Callable[[], list[str]]) -> st.SearchStrategy[str]:
    """Programs of the samples, with a few of their words or lines exchanged, dropped, doubled or moved."""
    edit = st.tuples(
        st.integers(0, 6),
        st.floats(0, 1, exclude_max=True),
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(FRAGMENTS),
    )

    def build(number: int, edits: list[tuple[int, float, float, str]]) -> str:
        texts = samples()
        text = texts[number % len(texts)]
        for kind, place, other, fragment in edits:
            text = _edit_source(text, kind, place, other, fragment)
        return text

    return st.builds(build, st.integers(0, 10**6), st.lists(edit, min_size=1, max_size=3))


def _edit_source(text: str, kind: int, place: float, other: float, fragment: str) -> str:
    if kind < 3:  # words
        parts = _words(text)
        if not parts:
            return fragment
        begin, end = parts[int(place * len(parts))]
        if kind == 0:
            new = fragment
        elif kind == 1:
            first, last = parts[int(other * len(parts))]
            new = text[first:last]
        else:
            new = text[begin:end] + fragment
        return text[:begin] + new + text[end:]
    lines = text.split("\n")
    here, there = int(place * len(lines)), int(other * len(lines))
    if kind == 3:
        del lines[here]
    elif kind == 4:
        lines.insert(here, lines[there])
    elif kind == 5:
        lines[here], lines[there] = lines[there], lines[here]
    else:
        indent = re.match(r"\s*", lines[here])
        lines.insert(here, (indent.group() if indent else "") + fragment)
    return "\n".join(lines)


@functools.lru_cache(maxsize=256)
def _words(text: str) -> list[tuple[int, int]]:
    return [found.span() for found in _TOKEN.finditer(text) if not found.group().isspace()]


def shuffled(items: list[Any], number: int) -> list[Any]:
    """The items in an order that the number decides."""
    result = list(items)
    random.Random(number).shuffle(result)
    return result
