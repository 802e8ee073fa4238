"""What a second process does ahead is what is asked for later, or it is not used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from omniport import ahead
from omniport.emit import port_files
from omniport.emit import render as templates
from omniport.plan.model import PortPlan
from omniport.port import Analysis, analyse
from omniport.rewrite.pipeline import module
from omniport.target import kept
from omniport.target.tree import Target, installed_target
from omniport.target.write import check

ROOT = Path(__file__).parents[1]
FLUX = str(ROOT / "fixtures" / "hub" / "black-forest-labs" / "FLUX.1-dev")


@pytest.fixture(scope="module")
def target() -> Target:
    return installed_target()


@pytest.fixture(scope="module")
def found(target: Target) -> Analysis:
    return analyse(FLUX, target=target, offline=True)


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the ports that a pipeline is rendered for."""
    names: list[str] = []
    whole = module.pipeline_text

    def noted(*args: Any, **kwargs: Any) -> str:
        names.append(args[2])
        return whole(*args, **kwargs)

    monkeypatch.setattr(module, "pipeline_text", noted)
    monkeypatch.setattr(ahead, "_MADE", [])
    monkeypatch.setattr(kept, "_KEPT", [])
    yield names


def go_ahead(found: Analysis, target: Target) -> None:
    plan = found.plan
    for step in ahead.steps(found.source, target.features, target.package, plan.name, plan.transformer.class_name):
        step(plan.pipeline)


def test_a_pipeline_is_rendered_once(found: Analysis, target: Target, rendered: list[str]) -> None:
    text = ahead.render_pipeline(found.source, found.plan, target.features)
    assert rendered == [found.plan.name]
    go_ahead(found, target)
    assert len(rendered) == 2
    assert ahead.render_pipeline(found.source, found.plan, target.features) == text and len(rendered) == 2


def change_of(plan: PortPlan, what: str) -> PortPlan:
    if what == "name":
        return replace(plan, name="other")
    if what == "stages":
        return replace(plan, transformer=replace(plan.transformer, stages=None))
    if what == "transformer":
        return replace(plan, transformer=replace(plan.transformer, class_name="OtherModel"))
    return replace(plan, pipeline=replace(plan.pipeline, output="audio"))


@pytest.mark.parametrize("what", ["name", "stages", "transformer", "pipeline"])
def test_another_plan_is_rendered_anew(found: Analysis, target: Target, rendered: list[str], what: str) -> None:
    assert found.plan.staged
    go_ahead(found, target)
    other = change_of(found.plan, what)
    text = ahead.render_pipeline(found.source, other, target.features)
    assert len(rendered) == 2 and text == module.render_pipeline(found.source, other, target.features)
    assert text != ahead.render_pipeline(found.source, found.plan, target.features)


def test_other_features_are_rendered_anew(found: Analysis, target: Target, rendered: list[str]) -> None:
    go_ahead(found, target)
    older = replace(target.features, progress_bar=False)
    assert "ProgressBarMixin" in ahead.render_pipeline(found.source, found.plan, target.features)
    assert "ProgressBarMixin" not in ahead.render_pipeline(found.source, found.plan, older)


def test_what_every_plugin_is_made_from_is_read(
    found: Analysis, target: Target, rendered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    used: set[str] = set()
    whole = templates.environment().get_template
    monkeypatch.setattr(templates.environment(), "get_template", lambda name: used.add(name) or whole(name))
    go_ahead(found, target)
    assert used == set(templates.ALWAYS)
    used.clear()
    plan = found.plan
    hooks = [h for h in (plan.pipeline.post_process, plan.pipeline.pre_process) if h]
    functions = "".join(f"\n\ndef {hook}():\n    pass\n" for hook in hooks)
    codes = (
        f"class {plan.transformer.class_name}:\n    pass\n",
        f"class {plan.pipeline.class_name}:\n    pass\n{functions}",
    )
    port_files(plan, *codes, target, plugin=True)
    assert set(templates.ALWAYS) <= used


def test_a_check_after_it_finds_the_same(found: Analysis, target: Target, rendered: list[str]) -> None:
    """What is kept of packages does not hide what a port lacks."""
    from omniport.target.write import FileChange

    text = module.render_pipeline(found.source, found.plan, target.features)
    name = found.plan.transformer.class_name
    changes = [
        FileChange("port/pipeline_flux.py", text, "create"),
        FileChange(f"port/{found.plan.name}_transformer.py", f"class {name}:\n    pass\n", "create"),
    ]
    alone = check(changes, package=target.package, others=[found.source.root])
    assert not alone.missing
    go_ahead(found, target)
    assert kept._KEPT
    assert check(changes, package=target.package, others=[found.source.root]) == alone


def test_what_a_port_lacks_is_found_after_it_as_well(found: Analysis, target: Target, rendered: list[str]) -> None:
    from omniport.errors import OmniportError
    from omniport.target.write import FileChange

    go_ahead(found, target)
    for line in ("from vllm_omni.diffusion.data import Nothing", "from .flux_transformer import Flux"):
        with pytest.raises(OmniportError, match="the port would use what does not exist"):
            check([FileChange("port/pipeline.py", f"{line}\n", "create")], package=target.package)
