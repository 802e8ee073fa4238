"""The forms of the corpus cover how the reference's own pipelines call its transformers, and its published configs."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from omniport.analyse.knowledge import DROPPED_PARAMETERS
from omniport.corpus.classes import corpus_classes
from omniport.errors import OmniportError
from omniport.port import analyse_transformer, config_keys
from omniport.source.tree import SourceTree
from omniport.verify.classes import ENTRIES, Entry, Variant
from omniport.verify.signatures import PARAMETERS

HUB = Path(__file__).parents[2] / "fixtures" / "hub"

#: What pipelines call their transformers; an attribute of the pipeline, of its components, or a local name.
DENOISERS = {"transformer", "transformer_2", "current_model", "denoiser", "dit"}

#: Classes that no port exists for; the corpus run says why.
REFUSED = {"AnyFlowFARTransformer3DModel", "WanAnimate2Transformer3DModel"}


def called(call: ast.Call) -> str:
    """The last name of what is called; empty where it is called by no name."""
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def signature(tree: SourceTree, name: str, method: str) -> list[str]:
    """Parameters of a method of a transformer class, without self."""
    cls = tree.find_class(name, "models").class_def(name)
    function = next(n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == method)
    return [a.arg for a in [*function.args.args, *function.args.kwonlyargs] if a.arg != "self"]


@pytest.fixture(scope="module")
def passed(diffusers: SourceTree) -> dict[str, set[str]]:
    """By class, the inputs that some pipeline hands to its transformer by name."""
    inputs = {name: set(signature(diffusers, name, "forward")) for name in corpus_classes(diffusers)}
    found: dict[str, set[str]] = {name: set() for name in inputs}
    for folder in ("pipelines", "modular_pipelines"):
        for file in (diffusers.root / folder).rglob("*.py"):
            text = file.read_text("utf-8")
            classes = [name for name in inputs if name in text and re.search(rf"\b{name}\b", text)]
            for node in ast.walk(ast.parse(text)) if classes else ():
                if isinstance(node, ast.Call) and called(node) in DENOISERS:
                    for name in classes:  # a file may name several classes: each takes what its forward knows
                        found[name] |= {k.arg for k in node.keywords if k.arg} & inputs[name]
    return found


def without_a_form(entry: Entry, names: set[str]) -> list[str]:
    """Inputs of ``names`` that neither a rule nor a form gives, that no port drops, and that no reason excuses."""
    tried = {name for form in (entry, *entry.variants.values()) for name, text in form.inputs.items() if text}
    known = PARAMETERS.keys() | tried | entry.untried.keys() | {"return_dict"}
    return sorted(n for n in names - known if not any(pattern.match(n) for pattern, _, _ in DROPPED_PARAMETERS))


def test_every_input_that_a_pipeline_passes_is_tried_dropped_or_excused(passed: Mapping[str, set[str]]) -> None:
    assert sum(map(bool, passed.values())) >= 55, "the calls of the pipelines are no longer found"
    missing = {name: without_a_form(ENTRIES.get(name, Entry()), passed[name]) for name in passed.keys() - REFUSED}
    assert {name: inputs for name, inputs in missing.items() if inputs} == {}


def test_inputs_without_a_form_are_excused_where_pipelines_pass_them(passed: Mapping[str, set[str]]) -> None:
    """What the last corpus run found, forms that leave an input at None included."""
    section = (HUB.parents[1] / "docs" / "coverage.md").read_text("utf-8").partition("## Inputs that no form has")[2]
    lines = re.findall(r"^- \*\*(\w+)\*\*: (.*)$", section.partition("\n## ")[0], re.M)
    assert len(lines) > 10
    for name, inputs in lines:
        bare = set(re.sub(r" \([^)]*\)", "", inputs).split(", "))
        assert bare & passed[name] <= ENTRIES.get(name, Entry()).untried.keys(), name


def test_a_form_that_is_missing_is_found(passed: Mapping[str, set[str]]) -> None:
    name = "SD3Transformer2DModel"
    assert without_a_form(ENTRIES[name], passed[name]) == []
    assert without_a_form(Entry(variants={"a": Variant("none", {}, {"skip_layers": ""})}), passed[name]) == [
        "skip_layers"
    ]


def test_reasons_are_for_inputs_that_exist(diffusers: SourceTree) -> None:
    for name, entry in ENTRIES.items():
        assert entry.untried.keys() <= set(signature(diffusers, name, "forward")), name
        assert all(len(reason) > 10 for reason in entry.untried.values()), name


# --------------------------------------------------------------------------------------------------- published configs
PUBLISHED = sorted(HUB.glob("*/*/transformer*/config.json"))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda p: "/".join(p.parts[-3:-1]))
def test_no_key_of_a_published_config_is_dropped(diffusers: SourceTree, path: Path) -> None:
    config = json.loads(path.read_text("utf-8"))
    name = config["_class_name"]
    plan = analyse_transformer(diffusers, name, config).plan
    assert list(plan.parameters) == signature(diffusers, name, "__init__")
    taken, *ignored = config_keys("transformer", config, plan, diffusers.version)
    keys = {key for key in config if not key.startswith("_")}
    given_up = keys - set(plan.parameters)
    assert taken.value == len(keys - given_up) > 5
    assert [d.value for d in ignored] == ([", ".join(sorted(given_up))] if given_up else [])
    assert given_up <= {"pooled_projection_dim"}, "a key of Qwen-Image's first release; no other is expected"
    newer = {**config, "new_key": 1, "_diffusers_version": "99.0"}
    for changed in (newer, {**newer, "_diffusers_version": None}, {**newer, "_diffusers_version": "?"}):
        with pytest.raises(OmniportError, match="config.json has keys that .* does not take: .*new_key"):
            config_keys("transformer", changed, plan, diffusers.version)


def test_there_are_published_configs() -> None:
    assert len(PUBLISHED) >= 12
