"""OP311: a plan leaves out an entry of its base's plan that the base does not have."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile, class_attributes, constant, dotted


class SpPlanWithoutInheritedKey(Rule):
    """A plan leaves out an entry of its base's plan that the base does not have.

    ``_sp_plan`` is made from ``Base._sp_plan.items()`` with a test for one key, and the plan of ``Base`` has no such
    key.

    Why: the entry was renamed or moved in the base, and what it was left out for may now be done twice: the sequence
    would be split at two places.  WanVACE of vllm-omni 0.30.0 still leaves out ``blocks.0``, which Wan gave up; there
    the new name is the same as its own, so nothing is split twice yet.

    Fix: name the entry that the base has now, or take the test away.
    """

    code = "OP311"
    name = "sp-plan-without-inherited-key"
    VALID = (
        """
        class Base:
            _sp_plan = {"rope": {0: SequenceParallelInput(split_dim=0, split_output=True, auto_pad=True)}}
        class Model(Base):
            _sp_plan = {k: v for k, v in Base._sp_plan.items() if k != "rope"}
        """,
        """
        class Model(Elsewhere):
            _sp_plan = {k: v for k, v in Elsewhere._sp_plan.items() if k != "rope"}
        """,
    )
    INVALID = (
        """
        class Base:
            _sp_plan = {"rope": {0: SequenceParallelInput(split_dim=0, split_output=True, auto_pad=True)}}
        class Model(Base):
            _sp_plan = {k: v for k, v in Base._sp_plan.items() if k != "blocks.0"}
        """,
        """
        class Base:
            _sp_plan = {"rope": {0: SequenceParallelInput(split_dim=0, split_output=True, auto_pad=True)}}
        class Model(Base):
            _sp_plan = {
                **{name: entry for name, entry in Base._sp_plan.items() if name not in ("blocks.0", "rope")},
                "split": {0: SequenceParallelInput(split_dim=0, split_output=True, auto_pad=True)},
            }
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("_sp_plan.items"):
                continue
            for made in file.nodes(ast.DictComp):
                (loop, *_) = made.generators
                source = dotted(loop.iter.func) if isinstance(loop.iter, ast.Call) else ""
                keys = _plan_keys(port, file, source.removesuffix("._sp_plan.items")) if "." in source else None
                for test in loop.ifs if keys is not None else ():
                    for gone in (k for k in _excluded(test) if keys is not None and k.value not in keys):
                        yield self.at(file, gone, f"{source.partition('.')[0]}._sp_plan has no entry {gone.value!r}")


def _plan_keys(port: Port, file: SourceFile, base: str) -> set[object] | None:
    """The keys of a base's plan; None where the port does not show them all."""
    found = port.find_class(base, file)
    plan = class_attributes(found[1]).get("_sp_plan") if found is not None else None
    if not isinstance(plan, ast.Dict) or not all(isinstance(k, ast.Constant) for k in plan.keys):
        return None
    return {constant(key) for key in plan.keys}


def _excluded(test: ast.expr) -> list[ast.Constant]:
    """The keys that a test leaves out."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return []
    (right,) = test.comparators
    if isinstance(test.ops[0], ast.NotEq):
        return [right] if isinstance(right, ast.Constant) else []
    if isinstance(test.ops[0], ast.NotIn) and isinstance(right, ast.Tuple | ast.List | ast.Set):
        return [e for e in right.elts if isinstance(e, ast.Constant)]
    return []
