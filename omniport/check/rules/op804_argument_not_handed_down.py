"""OP804: an argument stops half-way down to the layer that uses it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import built_class
from omniport.check.port import Port
from omniport.check.source import Function, constant, dotted, keyword, last_name, method, parameters, walk

#: names of what describes the sequence: left out, a layer takes the tokens for something else than they are
_SHAPES = re.compile(r"mask|_lens?$|seqlen|_spans?$")


class ArgumentNotHandedDown(Rule):
    """An argument stops half-way down to the layer that uses it.

    ``forward`` of a class has a parameter that describes the sequence (a length, a mask), calls a layer of the port
    whose ``forward`` has a parameter of the same name with a default, and passes it to none of its layers.

    Why: the layer silently takes its default.  In FLUX.2 Klein of vllm-omni 0.30.0 the single-stream block splits by
    ``text_seq_len`` but does not tell its attention, which then takes text tokens for shards of the image under
    sequence parallelism; FLUX.2, from which it was copied, passes it.  #3854 and #4301 were of this kind.

    Fix: pass the argument on, or take the parameter away where it has no meaning.
    """

    code = "OP804"
    name = "argument-not-handed-down"
    VALID = (
        """
        class Attn:
            def forward(self, x, text_seq_len=None):
                return x[:, :text_seq_len]
        class Block:
            def __init__(self):
                self.attn = Attn()
            def forward(self, x, text_seq_len=None):
                return self.attn(x, text_seq_len=text_seq_len)
        """,
        """
        class Attn:
            def forward(self, x, text_seq_len=None):
                return x
        class Block:
            def __init__(self):
                self.attn = Attn()
            def forward(self, x):
                return self.attn(x)
        """,
    )
    INVALID = (
        """
        class Attn:
            def forward(self, x, text_seq_len=None):
                return x[:, :text_seq_len]
        class Block:
            def __init__(self):
                self.attn = Attn()
            def forward(self, x, text_seq_len=None):
                return self.attn(x)[:, :text_seq_len]
        """,
        """
        class Attn:
            def forward(self, x, rope=None, **kwargs):
                return x + kwargs.get("attention_mask")
        class Block:
            def __init__(self):
                self.attn = Attn()
            def forward(self, x, rope, attention_mask):
                return self.attn(x, rope)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            for cls in file.nodes(ast.ClassDef):
                forward = method(cls, "forward")
                if forward is None:
                    continue
                passed = {n.id for c in file.nodes(ast.Call, within=forward) for n in _arguments(c)}
                own = {name for name in parameters(forward) if _SHAPES.search(name)} - passed
                for call in file.nodes(ast.Call, within=forward) if own else ():
                    name = dotted(call.func)
                    if not name.startswith("self.") or name.count(".") != 1 or _hides(call, forward):
                        continue
                    found = built_class(port, file, cls, name[5:])
                    below = method(found[1], "forward") if found is not None else None
                    if below is not None and (lost := sorted(own & _left_out(below, call))):
                        yield self.at(file, call, f"{name} also takes {', '.join(lost)}, which {cls.name} keeps")


def _hides(call: ast.Call, forward: Function) -> bool:
    """Whether ``**`` of something else than a parameter of ``forward`` may carry the argument."""
    stars = [k.value for k in call.keywords if k.arg is None]
    return any(last_name(value) not in parameters(forward) for value in stars)


def _arguments(call: ast.Call) -> Iterator[ast.Name]:
    """The variables that a call of a layer is given as they are."""
    if dotted(call.func).startswith("self."):
        for value in (*call.args, *(k.value for k in call.keywords)):
            if isinstance(value, ast.Name):
                yield value


def _left_out(function: Function, call: ast.Call) -> set[str]:
    """Parameters with a default that a call gives neither by place nor by name, and that the body reads."""
    args = [*function.args.posonlyargs, *function.args.args][1:]
    optional = {a.arg for a in args[len(args) - len(function.args.defaults) :]} if function.args.defaults else set()
    optional |= {a.arg for a, d in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True) if d}
    given = {a.arg for a in args[: len(call.args)]}
    nodes = [n for s in function.body for n in walk(s)]
    read = {n.id for n in nodes if isinstance(n, ast.Name)} & optional
    rest = function.args.kwarg.arg if function.args.kwarg is not None else ""
    for node in nodes:
        if rest and isinstance(node, ast.Call) and dotted(node.func) in (f"{rest}.get", f"{rest}.pop") and node.args:
            read.add(str(constant(node.args[0])))
    return {name for name in read - given if keyword(call, name) is None}
