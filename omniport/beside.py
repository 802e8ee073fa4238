"""A second process beside this one, for work that does not wait for what is done here meanwhile.

It is a fork, so it begins with all that this process has read and imported, and it keeps what it reads itself for the
next question.  A question is a function with its arguments; its answer comes back as if the function had been called
here: the same value, or the same :class:`~omniport.errors.OmniportError`.  Whatever goes wrong with the second process
is mended by calling the function here: where it cannot be made, where it dies, where an answer or a question cannot be
sent, and where the function raises anything else, which is a bug whose traceback is wanted.  So it saves time and
decides nothing.  Between two questions it may do :meth:`Beside.meanwhile` what a later one is answered sooner for.

The second process writes nothing: what it prints is lost, it runs no clean-up of this one's, and it ends with it.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import pickle
import select
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Generic, NoReturn, ParamSpec, TypeVar

from omniport.errors import OmniportError

P = ParamSpec("P")
T = TypeVar("T")

#: Set to anything, it keeps every command in one process.
VARIABLE = "OMNIPORT_ONE_PROCESS"
_VALUE, _ERROR, _BUG = range(3)  # what an answer is
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_HEAD = 8  # bytes that tell how many a question has
_PIPE = 1 << 20  # bytes of an answer that may wait to be read while the second process goes on


class Answer(Generic[T]):
    """What a question was answered; ``beside`` tells whether it is worked on while this process goes on."""

    def __init__(self, asked: Beside, call: Callable[[], T], beside: bool) -> None:
        self._asked, self._call, self.beside = asked, call, beside

    def result(self) -> T:
        """Wait for the answer; asked for once.

        Raises:
            OmniportError: the function raised it.
            Exception: the same function raised it here.
        """
        kind: int
        found: Any
        kind, found = self._asked._receive() if self.beside else (_BUG, None)
        if kind == _VALUE:
            return found  # type: ignore[no-any-return]
        if kind == _ERROR:
            raise found
        return self._call()


class Beside:
    """The second process: made with the first question, ended with the ``with`` block, one question at a time."""

    def __init__(self, *, alone: bool = False) -> None:
        """``alone``: there is to be none."""
        self._alone = alone
        self._pid = 0
        self._open = False  # a question is being worked on
        self._known: tuple[object, ...] = ()
        self._questions: BinaryIO | None = None
        self._answers: BinaryIO | None = None

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def ask(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Answer[T]:
        """Begin to call ``function``, which changes nothing that anybody here looks at.

        Objects that the first question names are known to the second process as they were then; a later question sends
        all others, so it should be about small ones.
        """

        def call() -> T:
            return function(*args, **kwargs)

        if self._open:
            return Answer(self, call, False)
        if self._pid:
            self._open = self._send(functools.partial(function, *args, **kwargs))
        elif not self._alone and allowed():
            self._known = (*args, *kwargs.values())
            self._open = self._fork(call)
        return Answer(self, call, self._open)

    def meanwhile(self, *steps: Callable[[Any], object]) -> None:
        """Have the second process call ``steps`` with its answer to the open question, once that is given.

        They run while it has nothing else to do: a step that is not begun when the next question comes waits until
        that is answered.  What they return or raise is lost; they are for what that process keeps.
        """
        if self._open:
            self._send(steps)

    def close(self) -> None:
        """End the second process, whatever it does; there is none from now on."""
        self._alone, self._open = True, False
        for pipe in (self._questions, self._answers):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not sent
                    pipe.close()
        self._questions = self._answers = None
        if self._pid:
            pid, self._pid = self._pid, 0
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    # ---------------------------------------------------------------------------------------------- in this process
    def _fork(self, first: Callable[[], object]) -> bool:
        """Make the process, which begins with ``first``; False where none can be made."""
        try:
            ends = [*os.pipe(), *os.pipe()]
        except OSError:
            return False
        if min(ends) <= 2:  # a standard stream is closed, and the second process opens its own there
            for end in ends:
                os.close(end)
            return False
        theirs, questions, answers, ours = ends
        names = [getattr(signal, name) for name in _SIGNALS]
        before = signal.pthread_sigmask(signal.SIG_BLOCK, names)  # nothing may come between a fork and its note
        try:
            self._pid = os.fork()
            if not self._pid:
                _serve(first, self._known, theirs, ours, (questions, answers))
        except OSError:
            os.close(questions)
            os.close(answers)
            return False
        finally:
            os.close(theirs)
            os.close(ours)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        with contextlib.suppress(ImportError, AttributeError, OSError):  # not on every system, nor of any size
            import fcntl

            fcntl.fcntl(answers, fcntl.F_SETPIPE_SZ, _PIPE)
        self._questions, self._answers = os.fdopen(questions, "wb"), os.fdopen(answers, "rb")
        return True

    def _send(self, question: object) -> bool:
        """Whether the question is on its way."""
        data = io.BytesIO()
        try:
            _Pickler(data, self._known).dump(question)
        except Exception:  # pickle raises many kinds; this one is answered here
            return False
        assert self._questions is not None
        try:
            self._questions.write(len(data.getbuffer()).to_bytes(_HEAD, "big"))
            self._questions.write(data.getbuffer())
            self._questions.flush()
        except OSError:
            self.close()
            return False
        return True

    def _receive(self) -> tuple[int, Any]:
        self._open = False
        if self._answers is None:
            return _BUG, None
        try:
            found: tuple[int, Any] = pickle.load(self._answers)
        except Exception:  # it died: what came is no answer, or the half of one
            self.close()
            return _BUG, None
        return found


# ------------------------------------------------------------------------------------------------ in the second process
def _serve(
    first: Callable[[], object], known: tuple[object, ...], read: int, write: int, others: tuple[int, int]
) -> NoReturn:
    """Answer ``first`` and every question after it, until there are none; never returns."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nothing, stream)
        sys.stdout = sys.stderr = os.fdopen(nothing, "w")  # what the old ones hold is written by the first process
        for end in others:
            os.close(end)
        names = [getattr(signal, name) for name in _SIGNALS]
        for name in names:
            signal.signal(name, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, names)
        answers = os.fdopen(write, "wb")
        steps: deque[Callable[[], object]] = deque()
        given: list[object] = []  # the last answer, where it is a value
        call: Callable[[], object] | None = first
        while True:
            if call is not None:
                answers.write(_answer(functools.partial(_noted, call, given)))
                answers.flush()
            while steps and not select.select([read], [], [], 0)[0]:
                with contextlib.suppress(Exception):
                    steps.popleft()()
            question = _question(read, known)
            if question is None:
                break
            call = question if callable(question) else None
            if call is None and given:
                steps += [functools.partial(step, given[0]) for step in question]
    finally:
        os._exit(0)


def _question(read: int, known: tuple[object, ...]) -> Any:
    """A call to be answered, steps to be taken meanwhile, or None where there is nothing more.

    No more is read than belongs to it, so that the pipe tells whether another one waits.
    """
    size = int.from_bytes(_bytes(read, _HEAD), "big")
    return _Unpickler(io.BytesIO(_bytes(read, size)), known).load() if size else None


def _bytes(read: int, count: int) -> bytes:
    """As many bytes, or fewer at the end."""
    found = bytearray()
    while len(found) < count and (part := os.read(read, count - len(found))):
        found += part
    return bytes(found)


def _noted(call: Callable[[], object], given: list[object]) -> object:
    given.clear()
    given.append(call())
    return given[0]


def _answer(call: Callable[[], object]) -> bytes:
    try:
        return pickle.dumps((_VALUE, call()))
    except OmniportError as error:
        if error.__cause__ is None:
            with contextlib.suppress(Exception):
                return pickle.dumps((_ERROR, error))
    except Exception:
        pass
    return pickle.dumps((_BUG, None))


class _Pickler(pickle.Pickler):
    """Names objects that both processes have by their place."""

    def __init__(self, file: BinaryIO, known: tuple[object, ...]) -> None:
        super().__init__(file)
        self._places = {id(value): place for place, value in enumerate(known)}

    def persistent_id(self, value: object) -> int | None:
        return self._places.get(id(value))


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, known: tuple[object, ...]) -> None:
        super().__init__(file)
        self._known = known

    def persistent_load(self, place: int) -> object:
        return self._known[place]


# ------------------------------------------------------------------------------------------------- whether there is one
def allowed() -> bool:
    """Whether a second process can be made here and has a core to run on.

    Not in a process that others made to share the work (a pool of them has taken all cores), nor beside threads, whose
    locks a fork would find as they are at that moment.
    """
    if os.environ.get(VARIABLE) or not hasattr(os, "fork") or not hasattr(os, "sched_getaffinity"):
        return False
    pool = sys.modules.get("multiprocessing.process")
    if pool is not None and pool.parent_process() is not None:
        return False
    return len(os.sched_getaffinity(0)) > 1 and _threads() == 1


def _threads() -> int:
    """Threads of this process, as far as can be told those that Python does not know included."""
    try:
        return sum(1 for _ in Path("/proc/self/task").iterdir())
    except OSError:
        return threading.active_count()
