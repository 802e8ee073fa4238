"""Lists of repeated blocks, and what is declared about them: offload, HSDP, regional compile, cache-dit."""

from __future__ import annotations

import ast

from omniport.analyse.facts import Facts, RootCall
from omniport.analyse.shapes import Instance, Modules, Seq, Tensor
from omniport.plan.model import BlockListPlan, FeaturePlan, Why
from omniport.source.normal import NormalForm

#: cache-dit's forward patterns: (takes encoder_hidden_states, what is returned) -> number.
#: Source: cache_dit.caching.forward_pattern.ForwardPattern.
PATTERNS: dict[tuple[bool, tuple[str, ...]], int] = {
    (True, ("hidden_states", "encoder_hidden_states")): 0,
    (True, ("encoder_hidden_states", "hidden_states")): 1,
    (True, ("hidden_states",)): 2,
    (False, ("hidden_states",)): 3,
    (False, ("hidden_states", "encoder_hidden_states")): 4,
    (False, ("encoder_hidden_states", "hidden_states")): 5,
}


def plan_blocks(normal: NormalForm, facts: Facts) -> tuple[tuple[BlockListPlan, ...], tuple[FeaturePlan, ...]]:
    """The block lists of the root in the order of their construction, and the features that follow from them."""
    module = ast.parse(normal.code)
    classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
    root = facts.instances[normal.root][0]
    lists = []
    for name, value in root.attributes.items():
        if isinstance(value, Modules) and value.many and value.items and isinstance(value.items[0], Instance):
            block = value.items[0].cls
            call = next((c for c in facts.calls if c.path == f"{name}.*"), None)
            if block not in classes:
                continue  # only imported: nothing of the port repeats
            number, why = _pattern(normal, classes[block], _carried(facts, call))
            lists.append(BlockListPlan(name, block, number, why))
    if not lists:
        none = Why("the model has no list of repeated blocks")
        return (), tuple(
            FeaturePlan(name, False, none) for name in ("hsdp", "layerwise offload", "compile", "cache-dit")
        )
    found = Why(f"repeated blocks: {', '.join(plan.attribute for plan in lists)}", lists[0].why.file, lists[0].why.line)
    unfit = next((plan for plan in lists if plan.pattern is None), None)
    reached = _reached(normal, classes[normal.root], lists)
    features = [FeaturePlan(name, reached is None, reached or found) for name in ("hsdp", "layerwise offload")]
    features.append(FeaturePlan("compile", True, found))
    features.append(FeaturePlan("cache-dit", unfit is None, unfit.why if unfit else found))
    return tuple(lists), tuple(features)


def _reached(normal: NormalForm, root: ast.ClassDef, lists: list[BlockListPlan]) -> Why | None:
    """Where the root uses a part of a block past the block's own forward: its weights are only there during that."""
    names = {f"self.{plan.attribute}" for plan in lists}
    forward = next(n for n in root.body if isinstance(n, ast.FunctionDef) and n.name == "forward")
    for node in ast.walk(forward):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Subscript)
            and ast.unparse(node.value.value) in names
        ):
            origin = normal.origin(node.lineno)
            what = f"uses {ast.unparse(node)} itself: a block's weights are gathered or loaded for its own forward only"
            return Why(f"{root.name} {what}", origin.file, origin.line)
    return None


def _carried(facts: Facts, call: RootCall | None) -> tuple[str, ...]:
    """Which of its token streams a block returns, in order, by the parameter that brings them in; () if unknown."""
    if call is None:
        return ()
    outputs = call.output.items if isinstance(call.output, Seq) else [call.output]
    found = []
    for output in outputs:
        names = [
            name
            for name in ("hidden_states", "encoder_hidden_states")
            if isinstance(output, Tensor) and output.streams and _axes(call.inputs.get(name)) == _axes(output)
        ]
        found.append(names[0] if len(names) == 1 else "?")
    return tuple(found)


def _axes(value: object) -> list[tuple[str, ...]]:
    return [dim.streams for dim in value.dims or ()] if isinstance(value, Tensor) else []


def _pattern(normal: NormalForm, block: ast.ClassDef, carried: tuple[str, ...]) -> tuple[int | None, Why]:
    """cache-dit's pattern of a block, from the parameters of its forward and the streams it returns."""
    forward = next(n for n in block.body if isinstance(n, ast.FunctionDef) and n.name == "forward")
    names = [arg.arg for arg in forward.args.args[1:]]
    returns = [node for node in ast.walk(forward) if isinstance(node, ast.Return)]
    origin = normal.origin(returns[-1].lineno if returns else forward.lineno)
    if "hidden_states" not in names[:1] or not returns:
        return None, Why("the first parameter of its forward is not hidden_states", origin.file, origin.line)
    shapes = {_returned(node.value) for node in returns}
    returned = carried if carried and "?" not in carried else shapes.pop() if len(shapes) == 1 else ()
    number = PATTERNS.get(("encoder_hidden_states" in names, returned))
    taken = "takes " + ", ".join(n for n in names if n in ("hidden_states", "encoder_hidden_states"))
    return number, Why(f"{taken} and returns {', '.join(returned) or 'something else'}", origin.file, origin.line)


def _returned(value: ast.expr | None) -> tuple[str, ...]:
    elements = value.elts if isinstance(value, ast.Tuple) else [value]
    return tuple(node.id if isinstance(node, ast.Name) else "?" for node in elements)
