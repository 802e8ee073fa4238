"""What a scheduler's step takes, where the pipeline asks for it at run time: the port's scheduler is known."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.analyse.pipeline_components import component_roles
from omniport.plan.model import Decision, Why
from omniport.rewrite.pipeline import facts
from omniport.source.tree import SourceModule, SourceTree


def step_signatures(source: SourceTree, module: SourceModule, decisions: tuple[Decision, ...]) -> Iterator[Decision]:
    """``signature self.x.step`` with the parameters of the step of each scheduler whose signature ``module`` inspects.

    None for a step that a base class, or a decorator, makes.
    """
    if "inspect.signature(" not in module.text:
        return
    for name, (dotted, role) in component_roles(decisions).items():
        place, _, class_name = dotted.rpartition(".")
        found = source.module(place) if role == "scheduler" else None
        if found is None or f"inspect.signature(self.{name}.step)" not in module.text:
            continue
        members = found.class_def(class_name).body
        step = next((n for n in members if isinstance(n, ast.FunctionDef) and n.name == "step"), None)
        if step is not None and not step.decorator_list:
            names = [a.arg for a in ast.walk(step.args) if isinstance(a, ast.arg)][1:]
            why = Why(f"the parameters of {class_name}.step, which model_index.json names", found.file, step.lineno)
            yield Decision(f"{facts.SIGNATURE} self.{name}.step", ", ".join(names), why)
