"""Pipeline parallelism: a rank makes and runs its run of the blocks, and hands the streams on.

It is written into the finished code, so that no other rewrite has to know of stages.
"""

from __future__ import annotations

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.plan.model import StagesPlan
from omniport.rewrite.layers import parameter
from omniport.rewrite.syntax import assignment, code, expression, self_attribute, statements
from omniport.source.transform import transform

RECEIVED = "intermediate_tensors"
MISSING = "PPMissingLayer"

_AFTER = """
if not is_pipeline_last_stage():
    return (IntermediateTensors({{{sent}}}),)
"""

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
    changes = {"__init__": _constructor, "forward": _forward, "load_weights": _loader}
    body = []
    for item in node.body.body:
        change = changes.get(item.name.value) if isinstance(item, cst.FunctionDef) else None
        if change is not None:
            assert isinstance(item, cst.FunctionDef)
            body.append(change(item, plan, node.name.value))
        else:
            body.append(item)  # type: ignore[arg-type]
    return node.with_changes(body=node.body.with_changes(body=body))


# --------------------------------------------------------------------------------------------------------- constructor
def _constructor(init: cst.FunctionDef, plan: StagesPlan, cls: str) -> cst.FunctionDef:
    lines: list[cst.BaseStatement] = []
    before: list[str] = []
    for line in init.body.body:
        pair = assignment(line)
        name = self_attribute(pair[0]) if pair is not None else ""
        length = next((item.length for item in plan.lists if item.attribute == name), None)
        if length is None or pair is None:
            lines.append(line)  # type: ignore[arg-type]
            continue
        if not before:
            shared = statements(_share(plan, cls))
            assert isinstance(line, cst.SimpleStatementLine)
            shared[0] = shared[0].with_changes(leading_lines=line.leading_lines)
            lines += shared
            line = line.with_changes(leading_lines=[])
        made = transform(line, _Own(" + ".join(before)))
        if made is line:
            raise UnsupportedError(f"{cls}.{name} is not made by one comprehension")
        lines.append(made)
        before.append(length)
    if len(before) != len(plan.lists):
        raise UnsupportedError(
            f"the constructor of {cls} does not make {', '.join(item.attribute for item in plan.lists)}"
        )
    return init.with_changes(body=init.body.with_changes(body=lines))


def _share(plan: StagesPlan, cls: str) -> str:
    text = ""
    if plan.fresh:
        depend = "depends" if len(plan.fresh) == 1 else "depend"
        text = _LIMIT.format(names=", ".join(plan.fresh), depend=depend, cls=cls)
    return text + _SHARE.format(total=" + ".join(item.length for item in plan.lists))


class _Own(cst.CSTTransformer):
    """A block that is another rank's is a placeholder; ``before`` counts the blocks in front of the list."""

    def __init__(self, before: str) -> None:
        self.before = before

    def leave_ListComp(self, original_node: cst.ListComp, updated_node: cst.ListComp) -> cst.BaseExpression:
        index = code(updated_node.for_in.target)
        place = f"{self.before} + {index}" if self.before else index
        own = expression(f"self.start_layer <= {place} < self.end_layer")
        return updated_node.with_changes(elt=cst.IfExp(own, updated_node.elt, expression(f"{MISSING}()")))


# ------------------------------------------------------------------------------------------------------------- forward
def _forward(forward: cst.FunctionDef, plan: StagesPlan, cls: str) -> cst.FunctionDef:
    lists = {item.attribute: item.length for item in plan.lists}
    lines: list[cst.BaseStatement] = []
    seen: list[str] = []
    for line in forward.body.body:
        name = self_attribute(line.iter) if isinstance(line, cst.For) else ""
        if name not in lists:
            lines.append(line)  # type: ignore[arg-type]
            continue
        assert isinstance(line, cst.For)
        if not seen:
            received = "".join(f'    {stream} = {RECEIVED}["{stream}"]\n' for stream in plan.streams)
            lines += _spaced(f"if not is_pipeline_first_stage():\n{received}")
        lines.append(line.with_changes(iter=expression(_own_part(name, seen))))
        seen.append(name)
        if len(seen) == len(lists):
            sent = ", ".join(f'"{stream}": {stream}.contiguous()' for stream in plan.streams)
            lines += _spaced(_AFTER.format(sent=sent))
    if seen != list(lists):
        raise UnsupportedError(f"the forward of {cls} does not run {', '.join(lists)} one after the other")
    params = list(forward.params.params)
    at = next((i for i, param in enumerate(params) if param.name.value == "return_dict"), len(params))
    params.insert(at, parameter(RECEIVED, "IntermediateTensors | None", "None"))
    if any(param.default is None for param in params[at + 1 :]):
        raise UnsupportedError(f"the forward of {cls} has a parameter without default behind return_dict")
    changed = forward.with_changes(params=forward.params.with_changes(params=params))
    if changed.returns is not None:
        kinds = f"{code(changed.returns.annotation)} | tuple[IntermediateTensors]"
        changed = changed.with_changes(returns=changed.returns.with_changes(annotation=expression(kinds)))
    return changed.with_changes(body=forward.body.with_changes(body=lines))


def _spaced(text: str) -> list[cst.BaseStatement]:
    """Statements with an empty line in front."""
    first, *rest = statements(text.strip("\n") + "\n")
    return [first.with_changes(leading_lines=[cst.EmptyLine(indent=False)]), *rest]


def _own_part(name: str, before: list[str]) -> str:
    """The blocks of a list that are this rank's, where the lists ``before`` are run first."""
    if not before:
        return f"islice(self.{name}, self.start_layer, self.end_layer)"
    skipped = " - ".join(f"len(self.{other})" for other in before)
    return f"islice(self.{name}, max(self.start_layer - {skipped}, 0), max(self.end_layer - {skipped}, 0))"


# -------------------------------------------------------------------------------------------------------------- loader
def _loader(load: cst.FunctionDef, plan: StagesPlan, cls: str) -> cst.FunctionDef:
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
