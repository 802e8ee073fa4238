"""OP965: a layer of the port is called with more arguments than its forward takes."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import layers
from omniport.check.port import Port
from omniport.check.source import Function, SourceFile, dotted, has_star, last_name, method, parameters


class CallDoesNotFit(Rule):
    """A layer of the port is called with more arguments than its forward takes.

    ``self.<name>(...)`` gives more arguments by place than ``forward`` of the class that the attribute holds has
    parameters, or one by a name that it does not have.

    Why: a TypeError in the first request that takes the branch.  Qwen-Image of vllm-omni 0.30.0 gives its time
    embedding a guidance that its ``forward`` does not take: any distilled model would fail, after minutes of loading.

    Fix: call the layer as it is defined, or delete the branch if no model takes it.
    """

    code = "OP965"
    name = "call-does-not-fit"
    VALID = (
        """
        class Embed(nn.Module):
            def forward(self, timestep, hidden_states, more=None):
                return hidden_states
        class Model(nn.Module):
            def __init__(self):
                self.embed = Embed()
            def forward(self, timestep, x):
                return self.embed(timestep, x, more=None)
        """,
        """
        class Embed(nn.Module):
            def forward(self, timestep, **kwargs):
                return timestep
        class Model(nn.Module):
            def __init__(self, kind):
                self.embed = Embed()
            def forward(self, timestep, x):
                return self.embed(timestep, guidance=x)
        """,
    )
    INVALID = (
        """
        class Embed(nn.Module):
            def forward(self, timestep, hidden_states):
                return hidden_states
        class Model(nn.Module):
            def __init__(self):
                self.embed = Embed()
            def forward(self, timestep, x, guidance):
                return self.embed(timestep, guidance, x)
        """,
        """
        class Embed(nn.Module):
            def forward(self, timestep):
                return timestep
        class Model(nn.Module):
            def __init__(self):
                self.embed = Embed()
            def forward(self, timestep, guidance):
                return self.embed(timestep, guidance=guidance)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            for cls in file.nodes(ast.ClassDef):
                held = _held(port, file, cls)
                for call in file.nodes(ast.Call, within=cls) if held else ():
                    name = dotted(call.func)
                    forward = held.get(name[5:]) if name.startswith("self.") else None
                    if forward is not None and file.enclosing_class(call) is cls and (wrong := _misfit(forward, call)):
                        yield self.at(file, call, f"forward of {name} {wrong}")


def _held(port: Port, file: SourceFile, cls: ast.ClassDef) -> dict[str, Function]:
    """``forward`` of the class of the port that each attribute surely holds."""
    made: dict[str, set[str]] = {}
    for name, call in layers(cls):
        made.setdefault(name, set()).add(last_name(call.func))
    found: dict[str, Function] = {}
    for name, classes in made.items():
        place = port.find_class(next(iter(classes)), file) if len(classes) == 1 else None
        forward = method(place[1], "forward") if place is not None else None
        if forward is not None and not forward.decorator_list:
            found[name] = forward
    return found


def _misfit(forward: Function, call: ast.Call) -> str:
    """What a call gives that ``forward`` does not take; empty if it fits as far as can be seen."""
    taken = forward.args
    placed = [*taken.posonlyargs, *taken.args][1:]
    if taken.vararg is None and not has_star(call) and len(call.args) > len(placed):
        return f"takes {len(placed)} arguments by place, not {len(call.args)}"
    unknown = [k.arg for k in call.keywords if k.arg is not None and k.arg not in parameters(forward)]
    return f"has no parameter {unknown[0]!r}" if unknown and taken.kwarg is None else ""
