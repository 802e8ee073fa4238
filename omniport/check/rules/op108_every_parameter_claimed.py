"""OP108: load_weights reports parameters as loaded that it did not load."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import Function, bound_names, dotted, last_name, walk
from omniport.check.weights import loaders

_ALL = frozenset({"named_parameters", "state_dict"})


class EveryParameterClaimed(Rule):
    """``load_weights`` reports every parameter of its own as loaded, whatever came.

    What it returns, or adds to what it returns, are all names of ``self.named_parameters()`` or ``self.state_dict()``,
    and the function never raises for a name that is missing.

    Why: vLLM-Omni refuses a port whose parameters no tensor filled by comparing them with this very set; a set that is
    complete by construction switches the check off, and a layer that is missing from the checkpoint runs on
    uninitialised memory.  AuK and OmniVoice of vllm-omni 0.30.0 do it.

    Fix: return what was loaded; for components that ``from_pretrained`` filled give the source a prefix, so that the
    check does not ask for them.
    """

    code = "OP108"
    name = "every-parameter-claimed"
    VALID = (
        """
        class Pipeline:
            def load_weights(self, weights):
                return AutoWeightsLoader(self).load_weights(weights)
        """,
        """
        class Model:
            def load_weights(self, weights):
                params = dict(self.named_parameters())
                missing = set(params)
                for name, tensor in weights:
                    params[name].data.copy_(tensor)
                    missing.discard(name)
                if missing:
                    raise ValueError(missing)
                return set(params)
        """,
    )
    INVALID = (
        """
        class Pipeline:
            def load_weights(self, weights):
                return {name for name, _ in self.named_parameters()}
        """,
        """
        class Pipeline:
            def load_weights(self, weights):
                loaded = AutoWeightsLoader(self).load_weights(weights)
                loaded |= {name for name, _ in self.named_parameters()}
                return loaded
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file, function in loaders(port):
            if any(isinstance(node, ast.Raise) for node in walk(function)):
                continue
            returned = {n.id for r in _returns(function) for n in walk(r) if isinstance(n, ast.Name)}
            for node in walk(function):
                if isinstance(node, ast.Return) and node.value is not None and _all_names(node.value):
                    yield self.at(file, node, "every name is returned as loaded, whether a tensor came for it or not")
                elif _adds_all(node, returned):
                    yield self.at(file, node, "every name is added to the loaded ones, whether a tensor came or not")


def _returns(function: Function) -> Iterator[ast.expr]:
    return (n.value for n in walk(function) if isinstance(n, ast.Return) and n.value is not None)


def _adds_all(node: ast.AST, returned: set[str]) -> bool:
    """``loaded |= {all names}`` or ``loaded.update(all names)`` of a set that is returned."""
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.BitOr):
        return bool(bound_names(node.target) & returned) and _all_names(node.value)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "update":
        return last_name(node.func.value) in returned and len(node.args) == 1 and _all_names(node.args[0])
    return False


def _all_names(node: ast.expr) -> bool:
    """Whether an expression is all names of the module itself: no filter, and not those of a part."""
    if isinstance(node, ast.SetComp | ast.GeneratorExp | ast.ListComp):
        (generator, *more) = node.generators
        return not more and not generator.ifs and isinstance(node.elt, ast.Name) and _own_table(generator.iter)
    if isinstance(node, ast.Call) and last_name(node.func) in ("set", "dict", "keys") and len(node.args) <= 1:
        inner = node.args[0] if node.args else node.func.value if isinstance(node.func, ast.Attribute) else None
        return inner is not None and (_own_table(inner) or _all_names(inner))
    return False


def _own_table(node: ast.expr) -> bool:
    if not isinstance(node, ast.Call):
        return False
    if last_name(node.func) in ("keys", "items") and isinstance(node.func, ast.Attribute):
        return _own_table(node.func.value)
    return dotted(node.func) in {f"self.{name}" for name in _ALL}
