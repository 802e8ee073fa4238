"""How a pipeline's call ends: what it returns, and whether the post-processing can leave the worker."""

from __future__ import annotations

import re
from typing import Literal

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.records import dataclass
from omniport.rewrite.pipeline.blocks import Block, Statement, inner_blocks, reads, statements, suite
from omniport.source.syntax import code, dotted
from omniport.source.walk import walk

Kind = Literal["image", "video", "audio"]
_KINDS: dict[str, Kind] = {
    "images": "image",
    "image": "image",
    "output": "image",
    "frames": "video",
    "video": "video",
    "audios": "audio",
    "audio": "audio",
    "sound": "audio",
}

#: Fields of pipeline outputs that are no media: a request's answer has no place for them.
_REMARKS = frozenset({"nsfw_content_detected", "revised_prompts", "action"})


@dataclass(frozen=True)
class Processed:
    """The statement ``target = self.<processor>.<method>(value, ...)`` whose work the engine process can do."""

    processor: str
    method: str
    target: str
    value: str
    arguments: tuple[str, ...]
    statement: Statement
    call: cst.Call


@dataclass(frozen=True)
class Output:
    """What the call returns: kind -> expression, the main one first; ``dropped`` are fields that go."""

    values: tuple[tuple[Kind, str], ...]
    dropped: tuple[str, ...]

    @property
    def kind(self) -> Kind:
        return self.values[0][0]

    @property
    def source(self) -> str:
        """The returned values as one expression."""
        texts = [text for _, text in self.values]
        return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"


def returns(entry: cst.FunctionDef) -> list[cst.Return]:
    """Every return of the call, in order."""
    found = []
    for node in statements(suite(entry.body)):
        if isinstance(node, cst.SimpleStatementLine):
            found += [small for small in node.body if isinstance(small, cst.Return)]
    return found


def find_output(entry: cst.FunctionDef, file: str, line: int) -> Output:
    """The output of ``entry``, as its last return has it.

    Raises:
        UnsupportedError: it does not end in a return, or a return is no pipeline output.
    """
    block = suite(entry.body)
    found = returns(entry)
    last = block[-1]
    if not found or not isinstance(last, cst.SimpleStatementLine) or last.body[-1] is not found[-1]:
        raise UnsupportedError("the call does not end in a return", file, line)
    main = returned(found[-1], None, file, line)
    for other in found[:-1]:
        returned(other, main, file, line)
    return main


def returned(node: cst.Return, main: Output | None, file: str, line: int) -> Output:
    """What one return gives back; a bare name is of the kind that ``main`` returns."""
    value = node.value
    if isinstance(value, cst.Name) and main is not None:
        return Output(((main.kind, value.value),), ())
    if not isinstance(value, cst.Call) or not value.args:
        raise UnsupportedError(f"return {code(value) if value else ''}: no pipeline output", file, line)
    values: list[tuple[Kind, str]] = []
    gone = []
    for argument in value.args:
        keyword = argument.keyword.value if argument.keyword else "images"
        if keyword in _REMARKS or dotted(argument.value) == "None":
            gone.append(keyword)
        elif keyword in _KINDS and not argument.star:
            values.append((_KINDS[keyword], code(argument.value)))
        else:
            raise UnsupportedError(f"return {code(value)}: {keyword} is no known output", file, line)
    if not values or len({k for k, _ in values}) != len(values):
        raise UnsupportedError(f"return {code(value)}: no pipeline output", file, line)
    return Output(tuple(values), tuple(gone))


def find_processed(entry: cst.FunctionDef, output: Output) -> Processed | str:
    """The post-processing that can leave the worker, or why it cannot (empty if there is none)."""
    block = suite(entry.body)
    found = [(s, c) for s in statements(block) if isinstance(s, cst.SimpleStatementLine) for c in _calls(s)]
    if not found:
        return ""
    if len(found) > 1:
        return f"{len(found)} post-processing calls"
    statement, call = found[0]
    assert isinstance(statement, cst.SimpleStatementLine) and isinstance(call.func, cst.Attribute)
    owner = dotted(call.func.value) or ""
    small = statement.body[0]
    if not isinstance(small, cst.Assign) or small.value is not call or len(small.targets) != 1 or not call.args:
        return f"{code(statement).strip()} does more than post-process"
    target, value = dotted(small.targets[0].target), dotted(call.args[0].value)
    if target is None or value is None or "." in target or "." in value or owner.count(".") != 1:
        return f"{code(statement).strip()} does more than post-process a variable"
    if target not in [text for _, text in output.values]:
        return f"{target} is not what the call returns"
    rest = call.args[1:]
    if unknown := {n for a in rest for n in reads(a.value)} - {"output_type"}:
        return f"post-processing reads {', '.join(sorted(unknown))}"
    if (other := _condition(block, statement)) is not None:
        return f"it is done only if {other}"
    if _read_after(block, statement, target):
        return f"{target} is used after post-processing"
    arguments = tuple(code(a.with_changes(comma=cst.MaybeSentinel.DEFAULT)) for a in rest)
    return Processed(owner.split(".")[1], call.func.attr.value, target, value, arguments, statement, call)


def _calls(node: cst.SimpleStatementLine) -> list[cst.Call]:
    return [n for n in walk(node) if isinstance(n, cst.Call) and is_postprocess(n)]


def is_postprocess(node: cst.Call) -> bool:
    """``self.<processor>.postprocess(...)`` or ``postprocess_video``."""
    if not isinstance(node.func, cst.Attribute):
        return False
    return (dotted(node.func.value) or "").startswith("self.") and node.func.attr.value.startswith("postprocess")


_LATENT = re.compile(r"""(not )?output_type (==|!=) ["']latent["']\Z""")


def _condition(block: Block, statement: Statement) -> str | None:
    """A condition around ``statement`` other than that decoded media are asked for; None if there is none."""
    for node in block:
        inside = [s for part in inner_blocks(node) for s in statements(suite(part))]
        if not any(s is statement for s in inside):
            continue
        if not isinstance(node, cst.If) or not _LATENT.match(code(node.test).strip()):
            return code(node.test).strip() if isinstance(node, cst.If) else type(node).__name__.lower()
        for part in inner_blocks(node):
            if (other := _condition(suite(part), statement)) is not None:
                return other
    return None


def _read_after(block: Block, statement: Statement, name: str) -> bool:
    """Whether ``name`` is read after ``statement``, returns aside."""
    seen = False
    for node in statements(block):
        if node is statement:
            seen = True
        elif seen and isinstance(node, cst.SimpleStatementLine):
            if name in reads(*(s for s in node.body if not isinstance(s, cst.Return))):
                return True
        elif (
            seen
            and isinstance(node, cst.If | cst.While)
            and name in reads(node.test)
            or seen
            and isinstance(node, cst.For)
            and name in reads(node.iter)
        ):
            return True
    return False
