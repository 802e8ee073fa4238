"""What the second process of a scaffold does ahead, while the first one still reads the transformer.

Nothing of it is taken on trust: a text that was made ahead is used where the port's plan turns out to ask for the very
same, and what was read ahead is of files, not of the port.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from omniport.plan.model import PipelinePlan, PortPlan, shares_stages

if TYPE_CHECKING:
    from omniport.source.tree import SourceTree
    from omniport.target.features import TargetFeatures

#: the pipeline that this process made ahead: what it was made from, and its text
_MADE: list[tuple[SourceTree, tuple[object, ...], str]] = []


def steps(
    source: SourceTree, features: TargetFeatures, package: Path | None, name: str, transformer: str
) -> tuple[Callable[[PipelinePlan], object], ...]:
    """What is done ahead with the plan of a pipeline, for :meth:`omniport.beside.Beside.meanwhile`.

    Args:
        source: the tree that the plan is made from.
        features: of the target.
        package: its folder ``vllm_omni``.
        name: of the port.
        transformer: the transformer's class.
    """
    return (
        functools.partial(_render, source, features, name, transformer),
        _read_templates,
        functools.partial(_read_packages, package, source.root),
    )


def render_pipeline(source: SourceTree, port: PortPlan, features: TargetFeatures) -> str:
    """The text of the pipeline's module; at once where this process made it ahead."""
    from omniport.rewrite.pipeline.module import render_pipeline

    wanted = (port.pipeline, port.name, port.transformer.class_name, features, port.staged)
    for tree, inputs, text in _MADE:
        if tree is source and inputs == wanted:
            return text
    return render_pipeline(source, port, features)


def _render(source: SourceTree, features: TargetFeatures, name: str, transformer: str, plan: PipelinePlan) -> None:
    """Make the pipeline, for a transformer whose blocks stages share where they can: nearly all do."""
    from omniport.rewrite.pipeline.module import pipeline_text

    staged = shares_stages(plan)
    text = pipeline_text(source, plan, name, transformer, features, staged=staged)
    _MADE[:] = [(source, (plan, name, transformer, features, staged), text)]


def _read_templates(plan: PipelinePlan) -> None:
    """Import the template engine, and compile what every port needs of ours."""
    from omniport import emit  # noqa: F401
    from omniport.emit.render import ALWAYS, environment

    for template in ALWAYS:
        environment().get_template(template)


def _read_packages(package: Path | None, source: Path, plan: PipelinePlan) -> None:
    """Read what the pipeline imports and uses; this process ends with its command, so it keeps that."""
    from omniport.target.kept import keep
    from omniport.target.members import missing_members
    from omniport.target.resolve import resolve_imports

    keep()
    for _, _, text in _MADE:
        sources = {"port/pipeline.py": text}
        resolve_imports(sources, package, [source])
        if package is not None:
            missing_members(sources, package)
