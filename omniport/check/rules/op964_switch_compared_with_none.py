"""OP964: a switch that is True or False is compared with None."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import assigned
from omniport.check.port import Port
from omniport.check.source import Function, dotted, method


class SwitchComparedWithNone(Rule):
    """A switch that is True or False is compared with None.

    ``x.name is not None`` where a class of the port sets ``self.name`` from a parameter that is annotated as ``bool``
    and has a default.

    Why: the test always has the same result, so what it guards happens for models that have it switched off.  FLUX.2
    of vllm-omni 0.30.0 tests ``guidance_embeds is not None`` and makes a guidance tensor for models that embed none;
    FLUX tests the switch itself.

    Fix: ``if x.name:``.
    """

    code = "OP964"
    name = "switch-compared-with-none"
    VALID = (
        """
        class Model:
            def __init__(self, guidance_embeds: bool = False):
                self.guidance_embeds = guidance_embeds
        class Pipe:
            def forward(self, req):
                if self.transformer.guidance_embeds:
                    return 1
        """,
        """
        class Model:
            def __init__(self, image_dim: int | None = None):
                self.image_dim = image_dim
            def forward(self, x):
                return x if self.image_dim is not None else None
        """,
    )
    INVALID = (
        """
        class Model:
            def __init__(self, guidance_embeds: bool = False):
                self.guidance_embeds = guidance_embeds
        class Pipe:
            def forward(self, req):
                if self.transformer.guidance_embeds is not None:
                    return 1
        """,
        """
        class Attn:
            def __init__(self, dim: int, added_proj_bias: bool = True):
                self.bias = added_proj_bias
            def forward(self, x):
                return x if self.bias is None else -x
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        tests = [
            (file, node)
            for file in port.files
            if file.mentions("None")
            for node in file.nodes(ast.Compare)
            if isinstance(node.ops[0], ast.Is | ast.IsNot)
            and isinstance(node.left, ast.Attribute)
            and isinstance(node.comparators[0], ast.Constant)
            and node.comparators[0].value is None
        ]
        names = {node.left.attr for _, node in tests if isinstance(node.left, ast.Attribute)}
        switches, others = _attributes(port, names)
        for file, node in tests:
            assert isinstance(node.left, ast.Attribute)
            own = dotted(node.left.value) == "self"
            cls = file.enclosing_class(node) if own else None
            known = {name for owner, name in switches if not own or owner is cls}
            if node.left.attr in known and (own or node.left.attr not in others):
                yield self.at(file, node, f"{node.left.attr} is True or False, never None")


def _attributes(port: Port, names: set[str]) -> tuple[set[tuple[ast.ClassDef, str]], set[str]]:
    """Attributes of the given names that are set once from a switch, by class, and names that another class sets."""
    switches: set[tuple[ast.ClassDef, str]] = set()
    others: set[str] = set()
    for file in port.files:
        for cls in file.nodes(ast.ClassDef):
            init = method(cls, "__init__")
            for name in names & {name for name, _ in assigned(cls)}:
                values = [value for attribute, value in assigned(cls) if attribute == name]
                if len(values) == 1 and isinstance(values[0], ast.Name) and values[0].id in _switches(init):
                    switches.add((cls, name))
                else:
                    others.add(name)
    return switches, others


def _switches(init: Function | None) -> set[str]:
    """Parameters that are annotated as ``bool`` and have a default."""
    if init is None:
        return set()
    args = [*init.args.posonlyargs, *init.args.args]
    with_default = args[len(args) - len(init.args.defaults) :] if init.args.defaults else []
    with_default += [a for a, d in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True) if d is not None]
    return {a.arg for a in with_default if dotted(a.annotation) == "bool"}
