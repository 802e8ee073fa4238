"""OP101: load_weights drops checkpoint tensors that have no parameter."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import Function, walk
from omniport.check.weights import loaders, own_statements, records, tensor_tables, weight_loops


class UnknownNamesDropped(Rule):
    """``load_weights`` drops checkpoint tensors that have no parameter.

    The loop over the checkpoint goes on to the next tensor when a name is not among the module's parameters, and
    neither raises nor keeps the name.  A log line does not count: the port still runs on weights it did not load.

    Why: vLLM-Omni's own check covers the other direction only, parameters that no tensor filled.  A renamed or added
    tensor of a newer checkpoint is lost, and the model draws wrong images without an error.  Fixed after the merge in
    #1659, #1728, #2523, #1598 and #4278; in vllm-omni 0.30.0 Qwen-Image, FLUX.2, ERNIE, Krea 2, HunyuanVideo 1.5,
    GLM-Image, Stable Audio, HiDream and SDXL still do it.

    Fix: collect such names and raise with the whole list after the loop; skip on purpose only by a named rule
    (``if name.startswith("vision_tower."): continue``).
    """

    code = "OP101"
    name = "unknown-checkpoint-names-dropped"
    VALID = (
        """
        class Model:
            def load_weights(self, weights):
                params, unexpected = dict(self.named_parameters()), []
                for name, tensor in weights:
                    if name not in params:
                        unexpected.append(name)
                        continue
                    params[name].weight_loader(params[name], tensor)
                if unexpected:
                    raise ValueError(f"unexpected: {unexpected}")
        """,
        """
        class Model:
            def load_weights(self, weights):
                params = dict(self.named_parameters())
                for name, tensor in weights:
                    if name.startswith("vision_tower."):
                        continue
                    param = params[name]
                    param.weight_loader(param, tensor)
        """,
        """
        class Model:
            def load_weights(self, weights):
                params = dict(self.named_parameters())
                for name, tensor in weights:
                    for fused, part, shard in MAPPING:
                        if part not in name or name.replace(part, fused) not in params:
                            continue
                        params[name.replace(part, fused)].weight_loader(tensor, shard)
                        break
                    else:
                        params[name].weight_loader(params[name], tensor)
        """,
    )
    INVALID = (
        """
        class Model:
            def load_weights(self, weights):
                params = dict(self.named_parameters())
                for name, tensor in weights:
                    param = params.get(name)
                    if param is None:
                        continue
                    param.weight_loader(param, tensor)
        """,
        """
        class Model:
            def load_weights(self, weights):
                params = dict(self.named_parameters())
                for name, tensor in weights:
                    if name not in params:
                        logger.debug("skipping %s", name)
                        continue
                    params[name].weight_loader(params[name], tensor)
        """,
        """
        class Model:
            def load_weights(self, weights):
                params = dict(self.named_parameters())
                for name, tensor in weights:
                    if name in params:
                        params[name].weight_loader(params[name], tensor)
                    else:
                        logger.warning("skipping %s", name)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file, function in loaders(port):
            if (node := self._drop(function)) is not None:
                yield self.at(file, node, "load_weights goes on without a checkpoint tensor that has no parameter")

    def _drop(self, function: Function) -> ast.stmt | None:
        """The first statement that lets go of a tensor because its name is unknown."""
        tables = tensor_tables(function)
        for loop in weight_loops(function):
            looked_up = _lookups(loop, tables)
            for node in own_statements(loop):
                if not isinstance(node, ast.If):
                    continue
                if _unknown(node.test, tables, looked_up):
                    if isinstance(node.body[-1], ast.Continue) and not records(node.body):
                        return node
                elif _known(node.test, tables) and _last(loop, node) and not _acts(node.orelse):
                    return node
        return None


def _last(loop: ast.For, node: ast.If) -> bool:
    """Whether the round ends with ``node``, alone or as the end of branches."""
    pending: list[ast.stmt] = [loop.body[-1]]
    while pending:
        statement = pending.pop()
        if statement is node:
            return True
        if isinstance(statement, ast.If):
            pending += [statement.body[-1], *statement.orelse[-1:]]
    return False


def _acts(nodes: list[ast.stmt]) -> bool:
    """Whether an ``else`` does more than to write a log line."""
    plain = (ast.Expr, ast.Pass)
    return records(nodes) or any(not isinstance(node, plain) for node in nodes)


def _lookups(loop: ast.For, tables: set[str]) -> set[str]:
    """Variables that hold ``table.get(name)``."""
    return {
        target.id
        for node in walk(loop)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and node.value.func.attr == "get"
        and isinstance(node.value.func.value, ast.Name)
        and node.value.func.value.id in tables
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _unknown(test: ast.expr, tables: set[str], looked_up: set[str]) -> bool:
    """``name not in table`` or ``table_entry is None``, alone: with another condition it is a choice."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return False
    left, operator, right = test.left, test.ops[0], test.comparators[0]
    if isinstance(operator, ast.NotIn):
        return isinstance(right, ast.Name) and right.id in tables
    return isinstance(operator, ast.Is) and isinstance(left, ast.Name) and left.id in looked_up


def _known(test: ast.expr, tables: set[str]) -> bool:
    """``name in table``, alone."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.In):
        return False
    right = test.comparators[0]
    return isinstance(right, ast.Name) and right.id in tables
