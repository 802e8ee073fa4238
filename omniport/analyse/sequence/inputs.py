"""What comes into the forward, seen by a walk over split tokens."""

from __future__ import annotations

import ast
from typing import Any

from omniport.analyse import library
from omniport.analyse.entry import parameters
from omniport.analyse.expressions import text
from omniport.analyse.poly import Poly
from omniport.analyse.sequence.operations import OperationRules
from omniport.analyse.sequence.rules import BATCH
from omniport.analyse.shapes import Dim, Instance, Opaque, Tensor
from omniport.source.nodes import each_node


class TokenInputs(OperationRules):
    """Gives the parameters of the root their axes."""

    given: dict[str, int]  # parameters that come with this number of axes

    def input(self, name: str, default: ast.expr | None, annotation: str) -> Any:
        """Inputs of three and more axes begin with the batch: their first sizes are one number."""
        if annotation.lower().startswith("list[int]"):
            return Opaque(name)
        value = super().input(name, default, annotation)
        if isinstance(value, Tensor) and name in library.VECTORS and name not in self.given:
            unpacked = self.unpacked(self.root, "forward", name)
            self.given |= {name: unpacked} if unpacked > 1 else {}
        if isinstance(value, Tensor) and name in self.given:
            more = (self.axis_of(f"{name}__{at}") for at in range(1, self.given[name]))
            return self.maybe(Tensor((Dim(BATCH), *more)), id(value) in self.optional)
        if isinstance(value, Tensor) and len(value.dims or ()) > 2:
            return self.maybe(value.with_dim(0, Dim(BATCH)), id(value) in self.optional)
        return value

    def unpacked(self, owner: Instance, method: str, name: str, depth: int = 3) -> int:
        """The number of sizes that a method, or one that it hands its parameter ``name`` on to, unpacks; 0 if none."""
        function = self.method_of(owner.cls, method)
        for node in each_node(function):
            shape = isinstance(node, ast.Assign) and text(node.value) == f"{name}.shape"
            target = node.targets[0] if isinstance(node, ast.Assign) and shape else None
            if isinstance(target, ast.Tuple) and not any(isinstance(e, ast.Starred) for e in target.elts):
                return len(target.elts)
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or depth == 0:
                continue
            at = next((i for i, arg in enumerate(node.args) if getattr(arg, "id", None) == name), None)
            if at is None or getattr(node.func.value, "id", None) != "self":
                continue
            taker, inner = owner.attributes.get(node.func.attr, owner), "forward"
            if taker is owner:
                inner = node.func.attr
            if isinstance(taker, Instance) and self.has_method(taker, inner):
                taken = [arg[0] for arg in parameters(self.method_of(taker.cls, inner)) if arg[0] != "self"]
                if at < len(taken) and (count := self.unpacked(taker, inner, taken[at], depth - 1)):
                    return count
        return 0

    def axis_of(self, name: str) -> Dim:
        streams = self.made_of((name,))
        return Dim(sum((Poly.of(f"len({stream})") for stream in streams), Poly.of(0)), (), streams)
