"""Components that a pipeline enters elsewhere than by their forward: offload cannot see it, and must leave them alone.

vLLM-Omni's model-level offload wraps the forward of each declared encoder: that is where its weights come in and those
of the denoiser go out.  A pipeline that runs a layer of the encoder itself, or another of its methods, gets weights
that are still on the CPU from the second request on.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from omniport.analyse.pipeline_reading import dotted
from omniport.source.nodes import each_node

#: attributes of a model that are no part of it
PLAIN = frozenset({"config", "device", "dtype", "generation_config", "training", "name_or_path"})

#: methods that compute nothing, or do so through the model's forward
HARMLESS = frozenset(
    {
        "__call__",
        "buffers",
        "cpu",
        "cuda",
        "enable_input_require_grads",
        "eval",
        "forward",
        "generate",  # calls the model for every token
        "half",
        "modules",
        "named_modules",
        "named_parameters",
        "num_parameters",
        "parameters",
        "register_forward_hook",
        "register_forward_pre_hook",
        "requires_grad_",
        "state_dict",
        "to",
        "train",
    }
)

WHOLE, PART = 1, 2


def entered(methods: Mapping[str, ast.FunctionDef], components: tuple[str, ...]) -> dict[str, str]:
    """Component -> the call, as source, that runs a part of it; those that only their forward runs are missing.

    Args:
        methods: all of the pipeline's class.
        components: attributes that hold the models to look for.
    """
    found: dict[str, str] = {}
    for component in components:
        seen: set[tuple[str, tuple[tuple[str, int], ...]]] = set()
        todo: list[tuple[str, dict[str, int]]] = [(name, {}) for name in methods]
        while todo and component not in found:
            name, given = todo.pop()
            key = (name, tuple(sorted(given.items())))
            if key in seen:
                continue
            seen.add(key)
            reading = _Reading(component, methods, given)
            for call in reading.entries(methods[name]):
                found.setdefault(component, ast.unparse(call.func))
            todo += reading.handed
    return found


class _Reading:
    """One method with what its names hold: the component as a whole, or a part of it."""

    def __init__(self, component: str, methods: Mapping[str, ast.FunctionDef], names: Mapping[str, int]) -> None:
        self.own, self.methods, self.names = f"self.{component}", methods, dict(names)
        self.handed: list[tuple[str, dict[str, int]]] = []

    def entries(self, method: ast.FunctionDef) -> Iterator[ast.Call]:
        """Calls in ``method`` that run a part; what it hands on to other methods is noted."""
        nodes = list(each_node(method))
        before = -1
        while before != len(self.names):  # a name may be bound behind its use, in a loop
            before = len(self.names)
            for node in nodes:
                self._bind(node)
        for node in nodes:
            if isinstance(node, ast.Call):
                if self._runs(node):
                    yield node
                self._hand(node)

    def _holds(self, node: ast.expr | None) -> int:
        """What an expression is: 0 nothing of the component."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, 0)
        if isinstance(node, ast.Attribute):
            if dotted(node) == self.own:
                return WHOLE
            return PART if node.attr not in PLAIN | HARMLESS and self._holds(node.value) else 0
        if isinstance(node, ast.Subscript):
            return self._holds(node.value) and PART
        if isinstance(node, ast.IfExp):
            return max(self._holds(node.body), self._holds(node.orelse))
        if isinstance(node, ast.BoolOp):
            return max(map(self._holds, node.values))
        if isinstance(node, ast.Call) and dotted(node.func) in ("enumerate", "reversed", "list", "zip"):
            return PART if any(map(self._holds, node.args)) else 0
        return 0

    def _bind(self, node: ast.AST) -> None:
        target: ast.expr | None = None
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, held = node.targets[0], self._holds(node.value)
        elif isinstance(node, ast.For | ast.comprehension):
            target, held = node.target, self._holds(node.iter) and PART
        if target is None or not held:
            return
        for name in each_node(target):
            if isinstance(name, ast.Name):
                self.names.setdefault(name.id, held)

    def _runs(self, call: ast.Call) -> bool:
        """Whether a call computes with a part: the part itself, or a method of it or of the whole."""
        return self._holds(call.func) == PART

    def _hand(self, call: ast.Call) -> None:
        name = (dotted(call.func) or "").removeprefix("self.")
        method = self.methods.get(name.rpartition(".")[2])
        if method is None or not isinstance(call.func, ast.Attribute):
            return
        parameters = [a.arg for a in (*method.args.posonlyargs, *method.args.args)]
        if parameters[:1] == ["self"]:
            parameters = parameters[1:]
        given = dict(zip(parameters, map(self._holds, call.args), strict=False))
        given |= {k.arg: self._holds(k.value) for k in call.keywords if k.arg is not None}
        if held := {name: what for name, what in given.items() if what}:
            self.handed.append((method.name, held))
