"""Pipeline parallelism: a rank makes and runs its run of the blocks, and hands the streams on.

It is written into the finished code, so that no other rewrite has to know of stages.
"""

from __future__ import annotations

import libcst as cst

from omniport.analyse.stage_loops import Run
from omniport.errors import UnsupportedError
from omniport.plan.model import StagesPlan
from omniport.rewrite.staged_forward import read_finished, share_forward
from omniport.rewrite.syntax import code, expression, self_attribute, statements
from omniport.source.transform import transform

MISSING = "PPMissingLayer"

_SHARE = """
self.start_layer, self.end_layer = get_pp_indices(
    {total}, get_pipeline_parallel_rank(), get_pipeline_parallel_world_size()
)
"""

_LIMIT = """
if get_pipeline_parallel_world_size() > 2:
    # {names} {depend} on the latents, which stages in the middle do not have.
    raise ValueError("{cls} has at most two stages: set pipeline_parallel_size to 1 or 2")
"""

_OTHERS = """
other_stages = tuple(f"{name}." for name, module in self.named_modules() if isinstance(module, PPMissingLayer))
"""


def share_blocks(module: cst.Module, plan: StagesPlan, root: str) -> cst.Module:
    """``module`` with the root's blocks shared by stages.

    Raises:
        UnsupportedError: the code has not the form that the plan says.
    """
    body = [
        _root(item, plan) if isinstance(item, cst.ClassDef) and item.name.value == root else item
        for item in module.body
    ]
    return module.with_changes(body=body)


def _root(node: cst.ClassDef, plan: StagesPlan) -> cst.ClassDef:
    cls = node.name.value
    parts = {item.name.value: item for item in node.body.body if isinstance(item, cst.FunctionDef)}
    if not {"__init__", "forward", "load_weights"} <= parts.keys():
        raise UnsupportedError(f"{cls} lacks one of __init__, forward and load_weights")
    runs = read_finished(parts["forward"], plan, cls)
    changed = {
        "__init__": _constructor(parts["__init__"], plan, runs[0], cls),
        "forward": share_forward(parts["forward"], runs, cls),
        "load_weights": _loader(parts["load_weights"], cls),
    }
    body = [
        changed.get(item.name.value, item) if isinstance(item, cst.FunctionDef) else item for item in node.body.body
    ]
    return node.with_changes(body=node.body.with_changes(body=body))


# --------------------------------------------------------------------------------------------------------- constructor
def _constructor(init: cst.FunctionDef, plan: StagesPlan, run: Run, cls: str) -> cst.FunctionDef:
    lengths = {item.attribute: item.length for item in plan.lists}
    before: dict[str, list[str]] = {}
    counted: list[str] = []
    for loop in run.loops:
        before.update(dict.fromkeys(loop.lists, list(counted)))
        counted.append(lengths[loop.lists[0]])
    lines: list[cst.BaseStatement] = []
    shared: list[cst.BaseStatement] = []
    own = _Own(before)
    for line in init.body.body:
        made = transform(line, own)
        if made is not line and not shared:
            shared = statements(_share(plan, counted, cls))
            assert isinstance(made, cst.SimpleStatementLine | cst.If)
            lines += [shared[0].with_changes(leading_lines=made.leading_lines), *shared[1:]]
            made = made.with_changes(leading_lines=[])
        lines.append(made)
    if own.made != set(before):
        raise UnsupportedError(f"the constructor of {cls} does not make {', '.join(before)} by one comprehension each")
    return init.with_changes(body=init.body.with_changes(body=lines))


def _share(plan: StagesPlan, counted: list[str], cls: str) -> str:
    text = ""
    if plan.fresh:
        depend = "depends" if len(plan.fresh) == 1 else "depend"
        text = _LIMIT.format(names=", ".join(plan.fresh), depend=depend, cls=cls)
    return text + _SHARE.format(total=" + ".join(counted))


class _Own(cst.CSTTransformer):
    """A block that is another rank's is a placeholder; ``before`` counts the blocks in front of each list."""

    def __init__(self, before: dict[str, list[str]]) -> None:
        self.before = before
        self.made: set[str] = set()
        self.within = ""

    def visit_Assign(self, node: cst.Assign) -> bool:
        name = self_attribute(node.targets[0].target)
        self.within = name if name in self.before else ""
        return bool(self.within)

    def leave_Assign(self, original_node: cst.Assign, updated_node: cst.Assign) -> cst.BaseSmallStatement:
        self.within = ""
        return updated_node

    def visit_ListComp(self, node: cst.ListComp) -> bool:
        return False

    def leave_ListComp(self, original_node: cst.ListComp, updated_node: cst.ListComp) -> cst.BaseExpression:
        if not self.within:
            return updated_node
        self.made.add(self.within)
        place = " + ".join([*self.before[self.within], code(updated_node.for_in.target)])
        own = expression(f"self.start_layer <= {place} < self.end_layer")
        return updated_node.with_changes(elt=cst.IfExp(own, updated_node.elt, expression(f"{MISSING}()")))


# -------------------------------------------------------------------------------------------------------------- loader
def _loader(load: cst.FunctionDef, cls: str) -> cst.FunctionDef:
    """Checkpoint tensors of blocks that are another rank's are passed over; any other unknown name stays an error."""
    others = statements(_OTHERS)
    changed = load.with_changes(body=load.body.with_changes(body=[*others, *load.body.body]))
    made = transform(changed, _PassOver())
    if made is changed:
        raise UnsupportedError(f"load_weights of {cls} collects no unexpected names")
    assert isinstance(made, cst.FunctionDef)
    return made


class _PassOver(cst.CSTTransformer):
    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.BaseStatement:
        text = code(updated_node).strip()
        if not text.startswith("unexpected.append("):
            return updated_node
        name = text.removeprefix("unexpected.append(").removesuffix(")")
        (guarded,) = statements(f"if not {name}.startswith(other_stages):\n    {text}\n")
        return guarded
