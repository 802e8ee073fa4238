"""Tables that are the same in every step of a request are made in its first: the module of the port keeps them.

Each port made its rotary tables in every forward, by dozens of small kernels, and some on the host, where the device
waits for them.  The class of the port is one of the reference's class, so that hooks of ``_sp_plan`` see every call.
Tables on the host are kept on the device of the input.
"""

from __future__ import annotations

import ast
from collections.abc import Collection

import libcst as cst

from omniport.analyse.host_tables import SUBJECT as ON_HOST
from omniport.analyse.size_tables import SUBJECT
from omniport.plan.model import TransformerPlan
from omniport.rewrite.syntax import dotted, self_attribute
from omniport.source.transform import transform

HELPER = '''

class {name}({base}):
    """``{base}`` that makes its tables for other sizes alone: each step of a request has the same."""

    made_for: tuple | None = None

    def forward(self, {parameters}) -> tuple[torch.Tensor, ...]:
        sizes = ({sizes})
        if torch.compiler.is_compiling() or sizes != self.made_for:
            self.tables = {fresh}
            self.made_for = sizes
        return self.tables
'''


def keep_tables(
    module: cst.Module, plan: TransformerPlan, root: str, taken: Collection[str]
) -> tuple[cst.Module, str, frozenset[str]]:
    """``module`` whose root makes modules that keep their tables, the classes of these, and the root's names for them.

    Where no module keeps any, it is the same object.

    Args:
        module: a port's transformer.
        plan: what was decided about it.
        root: its class that the pipeline calls.
        taken: names that the module has.
    """
    found = {d.subject.rpartition(" ")[2]: str(d.value) for d in plan.decisions if d.subject.startswith(f"{SUBJECT} ")}
    host = {d.subject.rpartition(" ")[2] for d in plan.decisions if d.subject.startswith(f"{ON_HOST} ")}
    classes: dict[str, str] = {}
    made: dict[str, str] = {}
    for attribute, value in found.items():
        base = value.partition("(")[0]
        if f"Cached{base}" not in taken:
            made[attribute] = f"Cached{base}"
            classes[f"Cached{base}"] = _class(base, value, on_host=attribute in host)
    if not made:
        return module, "", frozenset()
    body = []
    for item in module.body:
        if isinstance(item, cst.ClassDef) and item.name.value == root:
            changed = transform(item, _Make(made))
            assert isinstance(changed, cst.ClassDef)
            item = changed
        body.append(item)
    return module.with_changes(body=body), "".join(classes.values()), frozenset(made)


def _class(base: str, value: str, on_host: bool) -> str:
    """The class of the port, for ``value``: the reference's class with the parameters of its forward."""
    head = ast.parse(f"def {value}: ...").body[0]
    assert isinstance(head, ast.FunctionDef)
    arguments = [*head.args.posonlyargs, *head.args.args]
    sizes: list[str] = []
    for arg in arguments:
        tensor = arg.annotation is None or "Tensor" in ast.unparse(arg.annotation)
        sizes += [f"{arg.arg}.{what}" for what in ("shape", "dtype", "device")] if tensor else [arg.arg]
    given = ", ".join(arg.arg for arg in arguments)
    fresh = f"super().forward({given})"
    if on_host:
        device = next(size for size in sizes if size.endswith(".device"))
        fresh = f"tuple(table.to({device}) for table in {fresh})"
    return HELPER.format(
        name=f"Cached{base}",
        base=base,
        parameters=ast.unparse(head.args),
        fresh=fresh,
        sizes=", ".join(sizes),
    )


class _Make(cst.CSTTransformer):
    """The port's classes where the root makes its modules."""

    def __init__(self, made: dict[str, str]) -> None:
        self.made = made

    def leave_Assign(self, original_node: cst.Assign, updated_node: cst.Assign) -> cst.Assign:
        target, call = updated_node.targets[0].target, updated_node.value
        name = self.made.get(self_attribute(target))
        if name is None or not isinstance(call, cst.Call) or f"Cached{dotted(call.func)}" != name:
            return updated_node
        return updated_node.with_changes(value=call.with_changes(func=cst.Name(name)))
