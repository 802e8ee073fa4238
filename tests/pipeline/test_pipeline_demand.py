"""What a pipeline asks of its denoiser's port, and small repairs: seeds, counts, defaults of negative prompts."""

from __future__ import annotations

import ast
import textwrap
from dataclasses import replace

import libcst as cst
import pytest

from omniport.analyse.demand import Demand, demand_of
from omniport.analyse.pipeline import analyse_pipeline
from omniport.analyse.pipeline_loop import handed_on
from omniport.analyse.pipeline_reading import only_deprecates, pipelines_made
from omniport.analyse.sequence.plan import lists
from omniport.errors import UnsupportedError
from omniport.hub.synthetic import synthesise
from omniport.plan.model import PipelinePlan
from omniport.port import analyse_transformer
from omniport.rewrite.pipeline.annotations import with_whole_annotations
from omniport.rewrite.pipeline.denoiser import Denoisers, keyword_arguments
from omniport.rewrite.pipeline.evaluate import Facts
from omniport.rewrite.pipeline.fold import fold_function
from omniport.rewrite.pipeline.module import render_pipeline
from omniport.rewrite.pipeline.outputs import counted_for_prompts
from omniport.rewrite.pipeline.prepared import prepared
from omniport.rewrite.pipeline.seeded import with_seed_restored
from omniport.source.tree import SourceTree
from omniport.target.features import DEFAULT
from tests.pipeline.helpers import function, port, text

ONE = Denoisers((("self.transformer", ("x", "sparse_params", "return_dict")),))


def method(body: str, parameters: str = "self, x, n=1") -> str:
    return f"def __call__({parameters}):\n" + textwrap.indent(textwrap.dedent(body).lstrip("\n"), "    ")


def plan_of(diffusers: SourceTree, name: str) -> PipelinePlan:
    return analyse_pipeline(diffusers, name, synthesise(name, diffusers)[0], DEFAULT, name="x")


# ------------------------------------------------------------------------------------------------------------ demand
def test_residuals_that_a_pipeline_passes_stay_in_the_denoiser(diffusers: SourceTree) -> None:
    demand = demand_of(plan_of(diffusers, "FluxControlNetPipeline"))
    assert demand.given >= {"controlnet_block_samples", "controlnet_single_block_samples"}
    assert demand_of(plan_of(diffusers, "FluxPipeline")) == Demand()
    kept = analyse_transformer(diffusers, "FluxTransformer2DModel", demand=demand).plan
    assert demand.given <= set(kept.forward)
    plain = analyse_transformer(diffusers, "FluxTransformer2DModel").plan
    assert not demand.given & set(plain.forward)
    assert demand.given <= {d.subject for d in plain.dropped}


def test_members_that_a_pipeline_reads_stay_in_the_denoiser(diffusers: SourceTree) -> None:
    demand = demand_of(plan_of(diffusers, "HunyuanDiTPipeline"))
    assert demand == Demand(members=frozenset({"inner_dim", "num_heads"}))
    kept = analyse_transformer(diffusers, "HunyuanDiT2DModel", demand=demand).normal.code
    plain = analyse_transformer(diffusers, "HunyuanDiT2DModel").normal.code
    assert "self.num_heads = num_attention_heads" in kept.split("class HunyuanDiT2DModel")[1]
    assert "self.num_heads = num_attention_heads" not in plain.split("class HunyuanDiT2DModel")[1]


def test_modules_that_a_controlnet_shares_are_called_as_the_references_are(diffusers: SourceTree) -> None:
    """``from_transformer`` gets the model; its blocks may be called with less than the port's own calls give."""
    demand = demand_of(plan_of(diffusers, "ZImageControlNetPipeline"))
    assert demand.shared and not demand_of(plan_of(diffusers, "ZImagePipeline")).shared
    shared = analyse_transformer(diffusers, "ZImageTransformer2DModel", demand=demand).normal.code
    assert "adaln_clean: torch.Tensor | None = None" in shared
    own = analyse_transformer(diffusers, "ZImageTransformer2DModel", demand=replace(demand, shared=False)).normal.code
    assert "adaln_clean: torch.Tensor | None = None" not in own


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("c = Control.from_transformer(c, self.transformer)", "Control.from_transformer"),
        ("use(model=self.transformer)", "use"),
        ("n = getattr(self.transformer, 'n', None)", None),
        ("n = self.transformer(x)", None),
        ("use(self.transformer.config)", None),
    ],
)
def test_functions_that_get_the_denoiser(source: str, name: str | None) -> None:
    assert handed_on([function(f"def f(self, c, x):\n    {source}\n")], ONE) == name


def call(source: str) -> cst.Call:
    found = cst.parse_expression(source)
    assert isinstance(found, cst.Call)
    return found


def test_a_starred_argument_has_no_name() -> None:
    """Of diffusers' MotifVideoImage2VideoPipeline: what a guider's batch holds is not the third parameter."""
    names = frozenset({"self.transformer"})
    whole = keyword_arguments(call("self.transformer(x, sparse_params=None)"), ONE, names)
    assert [key for key, _ in whole or ()] == ["x", "sparse_params"]
    assert keyword_arguments(call("self.transformer(x=x, **conditions)"), ONE, names) is None
    assert keyword_arguments(call("self.transformer(*conditions)"), ONE, names) is None


@pytest.mark.parametrize("name", ["MotifVideoPipeline", "MotifVideoImage2VideoPipeline"])
def test_what_a_starred_argument_holds_is_not_asked_of_the_denoiser(diffusers: SourceTree, name: str) -> None:
    assert demand_of(plan_of(diffusers, name)) == Demand()


SPARSE = """
sparse = self.sparse(x)
for t in self.ts:
    x = self.transformer(x=x, sparse_params=sparse, return_dict=False)[0]
return x
"""


def test_what_no_port_takes_must_be_none() -> None:
    found = text([prepared(function(method(SPARSE)), ONE)])
    assert "sparse_params" not in found and "if sparse is not None:\n        raise ValueError(" in found
    plain = text([prepared(function(method(SPARSE.replace("=sparse,", "=None,"))), ONE)])
    assert "raise" not in plain and "sparse_params" not in plain
    with pytest.raises(UnsupportedError, match=r"self.sparse\(\) is passed"):
        prepared(function(method(SPARSE.replace("=sparse,", "=self.sparse(),"))), ONE)


# ------------------------------------------------------------------------------------------- arguments, components
@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("SanaPipeline", 'is not None else "")'),
        ("Cosmos2_5_TransferPipeline", "is not None else DEFAULT_NEGATIVE_PROMPT"),
        ("FluxPipeline", "or None)"),
    ],
)
def test_the_default_of_the_negative_prompt_is_the_references(diffusers: SourceTree, name: str, source: str) -> None:
    argument = next(a for a in plan_of(diffusers, name).arguments if a.name == "negative_prompt")
    assert source in argument.source.replace("''", '""')


def test_a_component_that_the_constructor_makes_is_made(diffusers: SourceTree) -> None:
    plan = plan_of(diffusers, "CosmosTextToWorldPipeline")
    assert any(d.subject == "made safety_checker" for d in plan.decisions)
    found = render_pipeline(diffusers, port("x", plan, "X"), DEFAULT)
    assert "        self.safety_checker = CosmosSafetyChecker()" in found and "safety_checker is None:" not in found


def test_a_name_that_may_become_text_is_no_list() -> None:
    facts = Facts(lists=frozenset({"n"}))
    body = 'if n is None:\n    n = "none"\nif isinstance(n, str):\n    n = [n]\nreturn n\n'
    assert "isinstance" in text([fold_function(function(method(body)), facts)])
    kept = body.replace('"none"', "[x] * 2 if x else None")
    assert "isinstance" not in text([fold_function(function(method(kept)), facts)])


# ------------------------------------------------------------------------------------------------- seeds and counts
SEEDED = """
if generator is not None:
    torch.manual_seed(generator.initial_seed())
tokens = self.language_model.generate(x)
return tokens
"""


def test_the_seed_of_the_process_is_put_back() -> None:
    found = text([with_seed_restored(function(method(SEEDED)))])
    scope = found.index("with torch.random.fork_rng(")
    assert scope < found.index("torch.manual_seed(") < found.index(".generate(x)") < found.index("    return tokens")
    assert "\n        tokens = self.language_model.generate(x)" in found


@pytest.mark.parametrize("other", [SEEDED.replace(".generate(x)", ".forward(x)"), "return self.model.generate(x)\n"])
def test_other_draws_are_left_alone(other: str) -> None:
    source = method(other)
    assert text([with_seed_restored(function(source))]) == source


ENCODE = function("def encode_prompt(self, prompt, num_images_per_prompt=1):\n    return prompt\n")
COUNTED = """
x = self.encode_prompt(prompt=x)
return self.prepare(batch_size * num_images_per_prompt, x)
"""


def test_the_count_of_outputs_reaches_the_prompts() -> None:
    parameters = "self, x, num_images_per_prompt=1"
    found = text([counted_for_prompts(function(method(COUNTED, parameters)), ENCODE)])
    assert "self.encode_prompt(prompt=x, num_images_per_prompt=num_images_per_prompt)" in found
    repeated = COUNTED.replace("return", "x = x.repeat(num_images_per_prompt)\nreturn")
    given = COUNTED.replace("prompt=x", "prompt=x, num_images_per_prompt=2")
    for other in (repeated, given, COUNTED.replace("prompt=x", "x")):
        source = method(other, parameters)
        assert text([counted_for_prompts(function(source), ENCODE)]) == source
    assert text([counted_for_prompts(function(method(COUNTED)), ENCODE)]) == method(COUNTED)


# ------------------------------------------------------------------------------------------ what the port cannot do
def test_a_config_value_that_the_constructor_lacks_is_read_off_the_config(diffusers: SourceTree) -> None:
    plan = plan_of(diffusers, "ChromaInpaintPipeline")
    found = render_pipeline(diffusers, port("x", plan, "X"), DEFAULT)
    assert "guidance_embeds" not in plan.transformer_attributes
    assert 'self.od_config.tf_model_config.get("guidance_embeds")' in found
    assert "self.transformer.guidance_embeds" not in found and "self.transformer.in_channels" in found


@pytest.mark.parametrize(
    ("written", "whole"),
    [
        ('"A.B" | C | None', '"A.B | C | None"'),
        ('list["A"]', 'list["A"]'),
        ('Literal["a"] | None', 'Literal["a"] | None'),
        ('"A"', '"A"'),
        ("A | None", "A | None"),
    ],
)
def test_annotations_that_are_in_part_strings(written: str, whole: str) -> None:
    found = text([with_whole_annotations(function(f"def f(self, x: {written} = None):\n    return x\n"))])
    assert f"x: {whole} = None" in found


def test_a_call_that_only_runs_other_pipelines_is_refused(diffusers: SourceTree) -> None:
    with pytest.raises(UnsupportedError, match=r"_combined\.py:360: the call runs other pipelines, .*: VisualClozeGen"):
        plan_of(diffusers, "VisualClozePipeline")


@pytest.mark.parametrize(
    ("statement", "made"),
    [
        ("self.a = OtherPipeline(vae=vae)", {"self.a": "OtherPipeline"}),
        ("self.a = lib.OtherPipeline()", {"self.a": "lib.OtherPipeline"}),
        ("self.a = Processor()", {}),
        ("self.a = OtherPipeline", {}),
    ],
)
def test_pipelines_that_a_constructor_makes(statement: str, made: dict[str, str]) -> None:
    init = ast.parse(f"def __init__(self, vae):\n    {statement}\n").body[0]
    assert isinstance(init, ast.FunctionDef)
    assert pipelines_made(init) == made


def test_an_old_name_is_the_class_that_it_stands_for(diffusers: SourceTree) -> None:
    old, new = plan_of(diffusers, "Lumina2Text2ImgPipeline"), plan_of(diffusers, "Lumina2Pipeline")
    assert old == new and old.class_name == "Lumina2Pipeline"


@pytest.mark.parametrize("more", ["self.x = 1", "prepare(transformer)"])
def test_a_subclass_that_does_more_is_no_old_name(more: str) -> None:
    source = (
        "class New:\n    def __init__(self, transformer):\n        pass\n"
        "class Old(New):\n    def __init__(self, transformer):\n        deprecate('Old', '1', 'gone')\n"
        "        super().__init__(transformer=transformer)\n"
    )
    plain, other = (ast.parse(s).body[1] for s in (source, f"{source}        {more}\n"))
    assert isinstance(plain, ast.ClassDef) and isinstance(other, ast.ClassDef)
    inits = [n for c in (plain, other) for n in c.body if isinstance(n, ast.FunctionDef)]
    assert [only_deprecates(n) for n in inits] == [True, False]


def test_what_decodes_is_measured(diffusers: SourceTree) -> None:
    def targets(name: str) -> str:
        found = render_pipeline(diffusers, port("x", plan_of(diffusers, name), "X"), DEFAULT)
        return next(line for line in found.splitlines() if "_PROFILER_TARGETS" in line)

    assert '"vae.decode"' in targets("FluxPipeline")
    assert '"vqvae.decode"' in targets("VQDiffusionPipeline") and '"vae.decode"' not in targets("VQDiffusionPipeline")
    assert '"diffuse"]' in targets("PRXPixelPipeline")


def test_a_list_of_residuals_is_not_split_as_one_tensor(diffusers: SourceTree) -> None:
    given = Demand(given=frozenset({"block_controlnet_hidden_states"}))
    plan = analyse_transformer(diffusers, "SD3Transformer2DModel", demand=given).plan
    feature = next(f for f in plan.features if f.name == "sequence parallelism")
    assert not feature.supported and "list of tensors" in feature.why.reason and plan.region is None
    plain = analyse_transformer(diffusers, "SD3Transformer2DModel").plan
    assert next(f for f in plain.features if f.name == "sequence parallelism").supported


@pytest.mark.parametrize(("type_", "found"), [("", True), (": torch.Tensor", False)])
def test_parameters_that_are_counted(type_: str, found: bool) -> None:
    node = ast.parse(f"def forward(self, x{type_} = None):\n    return len(self.blocks) // len(x)\n").body[0]
    other = ast.parse(f"def forward(self, x{type_} = None, y=None):\n    return len(y.blocks)\n").body[0]
    assert isinstance(node, ast.FunctionDef) and isinstance(other, ast.FunctionDef)
    assert (lists(node) == {"x"}) is found and lists(other) == set()


@pytest.mark.parametrize(("annotation", "found"), [("list", True), ("list[A] | None", True), ("A | None", False)])
def test_parameters_that_are_lists(annotation: str, found: bool) -> None:
    node = ast.parse(f"def forward(self, x: {annotation} = None):\n    return x\n").body[0]
    rebound = ast.parse(f"def forward(self, x: {annotation} = None):\n    x = x[0]\n    return x\n").body[0]
    assert isinstance(node, ast.FunctionDef) and isinstance(rebound, ast.FunctionDef)
    assert (lists(node) == {"x"}) is found and lists(rebound) == set()
