"""The plan: every decision of a port, frozen, with its reason and its source line.

Analysis writes a plan; rewriting and emitting only read it.  All types are frozen dataclasses of strings, numbers,
booleans, ``None``, tuples and other such dataclasses, so that a plan goes to JSON and back unchanged
(:mod:`omniport.plan.serial`).
"""

from __future__ import annotations

from typing import Literal

from omniport.plan.subjects import FORWARDS, STAGES
from omniport.records import sealed

Scalar = str | int | float | bool | None


@sealed(frozen=True)
class Why:
    """Why something was decided: one sentence, and the source line that shows it.

    ``file`` is relative to the root of the package it belongs to (``diffusers/models/attention.py``), or a file name
    of the model repository (``model_index.json``); ``line`` is 1-based, 0 where a whole file is the evidence.
    """

    reason: str
    file: str = ""
    line: int = 0


@sealed(frozen=True)
class Decision:
    """A named decision that needs no type of its own: ``subject`` was given ``value`` because of ``why``."""

    subject: str
    value: Scalar
    why: Why


# ---------------------------------------------------------------------------------------------------------- the model
ComponentRole = Literal["dit", "encoder", "vae", "tokenizer", "processor", "scheduler", "other", "absent"]
Path = Literal["already supported", "path A", "path B", "hybrid"]


@sealed(frozen=True)
class ComponentPlan:
    """One component of the pipeline, as ``model_index.json`` or the constructor names it.

    ``library`` is the module the class is imported from (``diffusers``, ``transformers``, or a custom module).
    """

    name: str
    library: str
    class_name: str
    role: ComponentRole
    why: Why


@sealed(frozen=True)
class ModelPlan:
    """What is ported and by which path of the guide (step 0 of ``add-diffusion-model``)."""

    model: str
    form: Literal["hub", "local", "diffusers"]
    revision: str | None
    pipeline_class: str
    path: Path
    source: str  # package and version the reference source was read from, e.g. "diffusers 0.40.0"
    components: tuple[ComponentPlan, ...]
    why: tuple[Why, ...]  # evidence of the classification
    follows: str  # what the guide says to do next


# ---------------------------------------------------------------------------------------------------- the transformer
@sealed(frozen=True)
class ClassPlan:
    """A class brought into the port, specialised for the call sites that use it.

    ``bindings`` are constructor and forward arguments that every call site fixes; ``folds`` are the conditions that
    those bindings decide.
    """

    name: str
    origin: str  # dotted name of the class in the reference
    bindings: tuple[Decision, ...]
    folds: tuple[Decision, ...]
    why: Why


LinearRole = Literal["column", "row", "qkv", "merged", "gathered", "scattered", "replicated"]


@sealed(frozen=True)
class LinearPlan:
    """What becomes of one ``nn.Linear`` of the reference.

    ``path`` is ``Class.attribute`` (``FluxAttention.to_q``, ``FeedForward.net.2``).  Roles: ``column`` shards the
    output, ``row`` the input (one all-reduce), ``qkv``/``merged`` are columns fused with siblings into ``fused``,
    ``gathered`` is a column whose small output is gathered (modulation), ``scattered`` a row whose whole input each
    rank takes its run of (between two whole streams of tokens: one all-reduce), ``replicated`` stays whole.
    ``packed`` are the expressions of the widths that a row-parallel layer's concatenated input is made of, in order, or
    a merged layer's output; one expression of a list where the constructor sets their number, and then, if that may be
    one, the condition of several.
    """

    path: str
    role: LinearRole
    fused: str | None  # attribute that takes it in: "to_qkv"
    shard: str | None  # shard id in the fused layer: "q", "k", "v", "0", "1"
    packed: tuple[str, ...]
    why: Why


@sealed(frozen=True)
class AttentionPlan:
    """One attention call: which class holds it, and what the ``Attention`` layer is constructed with."""

    class_name: str
    heads: str  # expression of the number of heads over all ranks
    kv_heads: str
    head_dim: str
    softmax_scale: str
    causal: bool
    kind: Literal["self", "cross", "joint"]
    why: Why
    local: bool = False  # under sequence parallelism each rank attends on its own: the keys are whole there
    streams: tuple[str, ...] = ()  # else the token streams that the keys are, in order, as SpTensor names them
    own_mask: bool = False  # under sequence parallelism its mask is over the keys of a rank
    #: Where that depends on the module: each attribute that holds one (``Block.cross_attn``), and the streams that its
    #: keys are there; none if they are whole.
    key_streams: tuple[tuple[str, tuple[str, ...]], ...] = ()


ConvRole = Literal["column", "depthwise", "row", "scattered"]


@sealed(frozen=True)
class ConvPlan:
    """A convolution that the ranks share: roles as of linears, ``depthwise`` keeps the channels of a rank.

    ``parts``: the channels are so many equal runs, each sharded by itself.
    """

    path: str
    role: ConvRole
    parts: int
    why: Why


@sealed(frozen=True)
class SlicePlan:
    """A whole value of which a rank takes its part, since it meets heads that are sharded.

    ``expression`` is its text in the forward of ``class_name``: an argument of ``call``, an operand of arithmetic if
    that is empty.  ``dim`` is the dimension of the heads, counted from the last.
    """

    class_name: str
    call: str
    expression: str
    dim: int
    why: Why


@sealed(frozen=True)
class WeightPlan:
    """One rule of ``load_weights``: checkpoint names that contain ``checkpoint`` fill ``shard`` of ``parameter``."""

    parameter: str
    checkpoint: str
    shard: str | None


@sealed(frozen=True)
class SpEntry:
    """One entry of ``_sp_plan``.

    ``module`` is the dotted path (``""`` is the root), ``key`` the name of a forward parameter or the index of an
    output; ``kind`` says whether the tensor is split there or gathered.  ``dims`` is the expected rank of the tensor.
    """

    module: str
    key: str | int
    kind: Literal["split", "gather"]
    dim: int
    dims: int | None
    split_output: bool
    auto_pad: bool
    why: Why
    group: str | None = None  # the token stream whose length is recorded and trimmed to


@sealed(frozen=True)
class SpTensor:
    """A tensor at a border of the statements that run on a rank's share of the tokens.

    ``variable`` is a local of the forward, ``item`` the index if it is a tuple.  ``dim`` is the token axis of ``dims``
    (None: any number of axes, ``dim`` is counted from the last);
    ``streams`` are what the axis is made of, in order, each named by the value that is one token of it per row.
    ``broadcast``: the axis may have one row for all tokens.
    """

    variable: str
    item: int | str | None
    dim: int
    dims: int | None
    streams: tuple[str, ...]
    optional: bool
    broadcast: bool = False  # the axis may have one row for all tokens, which then stays
    rank: int | None = None  # it is split if it has that many axes: with other inputs it holds nothing for each token
    samples: str | None = None  # its first axis merges so many samples and the tokens: they are split apart
    inner: int | None = None  # the index within the item, if that is a tuple, too


@sealed(frozen=True)
class SpCut:
    """A token axis that is two streams, one on each side of a place that a number of the forward counts to.

    ``number`` counts the tokens in front of the place, or behind it if ``from_end``; in the region it counts a rank's.
    """

    variable: str
    dim: int
    number: str
    from_end: bool
    streams: tuple[str, str]


@sealed(frozen=True)
class SpRegion:
    """The statements ``start`` to ``end`` (not included) of the root's forward, which run on a rank's tokens.

    ``masks`` are axes that stay whole, in the order in which the ranks hold the tokens; ``absent`` are optional values
    that cannot be given under sequence parallelism; ``counts`` are numbers that are to count a rank's tokens there,
    each with the streams whose lengths make it up; ``required`` are optional values that have to be given there;
    ``ahead``: attention in front of it sees all tokens on every rank.
    """

    start: int
    end: int
    split: tuple[SpTensor, ...]
    gather: tuple[SpTensor, ...]
    masks: tuple[SpTensor, ...]
    absent: tuple[str, ...]
    why: Why
    counts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    required: tuple[str, ...] = ()
    cuts: tuple[SpCut, ...] = ()
    ahead: bool = False


@sealed(frozen=True)
class FeaturePlan:
    """What the port declares about one acceleration feature; ``supported`` False carries the reason in ``why``."""

    name: str
    supported: bool
    why: Why


@sealed(frozen=True)
class BlockListPlan:
    """A ``ModuleList`` of repeated blocks.

    ``pattern`` is cache-dit's forward pattern number, None if it fits none.  ``cache``: cache-dit runs the list as one
    "stack", or block by block ("blocks") because the forward gives each something of its own, or not at all ("").
    ``named``: the block's parameters have the names that cache-dit looks for.  ``reached`` are modules within blocks
    that the root calls past the block's own forward.  ``optional``: some configurations have no such list.
    """

    attribute: str
    class_name: str
    pattern: int | None
    why: Why
    cache: Literal["stack", "blocks", ""] = ""
    named: bool = True
    reached: tuple[str, ...] = ()
    optional: bool = False


@sealed(frozen=True)
class StagedList:
    """A list of blocks that stages share: its attribute, and its length in the words of the root's constructor."""

    attribute: str
    length: str


@sealed(frozen=True)
class StagesPlan:
    """How the ranks of a pipeline share the blocks of a transformer, each a run of them.

    ``lists`` are run one right after the other; ``streams`` are the variables that each block takes and gives back.
    ``fresh`` are further arguments of blocks that depend on the latents, which stages in the middle do not have.
    """

    lists: tuple[StagedList, ...]
    streams: tuple[str, ...]
    fresh: tuple[str, ...]
    why: Why


@sealed(frozen=True)
class TransformerPlan:
    """Everything the port's transformer file is written from."""

    class_name: str
    module: str  # reference module: "diffusers.models.transformers.transformer_flux"
    parameters: tuple[str, ...]  # of the constructor, as in the reference
    forward: tuple[str, ...]  # parameters that the port's forward keeps
    dropped: tuple[Decision, ...]  # forward parameters and features that the port leaves out, with the reason
    classes: tuple[ClassPlan, ...]
    linears: tuple[LinearPlan, ...]
    attentions: tuple[AttentionPlan, ...]
    weights: tuple[WeightPlan, ...]
    sp: tuple[SpEntry, ...]
    blocks: tuple[BlockListPlan, ...]
    features: tuple[FeaturePlan, ...]
    decisions: tuple[Decision, ...]
    region: SpRegion | None = None
    slices: tuple[SlicePlan, ...] = ()
    convs: tuple[ConvPlan, ...] = ()
    stages: StagesPlan | None = None


# ------------------------------------------------------------------------------------------------------- the pipeline
@sealed(frozen=True)
class ArgumentPlan:
    """Where a parameter of the reference's ``__call__`` comes from in a request.

    ``source`` is the expression over ``req``; ``default`` the reference's own default as source text.
    """

    name: str
    source: str
    default: str | None
    why: Why


DISPATCHED = ("sequential", "batched", "branches")
"""Kinds of guidance of which the port makes one call for each branch."""


@sealed(frozen=True)
class PipelinePlan:
    """Everything the port's pipeline file is written from.

    ``output`` is unknown where a custom repository does not say it, which is then a TODO of the port.  ``cfg``: no
    guidance; a scale that the denoiser takes; two calls a step; one call of a doubled batch, split in two; one such
    call that stays whole on every rank (the decision "guidance" says why); as many calls as a guider object says
    (branches).
    """

    class_name: str
    module: str
    output: Literal["image", "video", "audio", "unknown"]
    arguments: tuple[ArgumentPlan, ...]
    dropped: tuple[Decision, ...]
    cfg: Literal["none", "embedded", "sequential", "batched", "whole", "branches"]
    transformer_attributes: tuple[str, ...]  # config values of the transformer that the pipeline reads
    post_process: str | None
    pre_process: str | None
    decisions: tuple[Decision, ...]

    @property
    def dispatched(self) -> bool:
        """Whether a round of guidance makes one call for each branch, which ranks can share."""
        return self.cfg in DISPATCHED

    @property
    def separate_cfg(self) -> bool:
        """Whether a step makes two forwards of one denoiser, which a cache has to tell apart."""
        counted = (d.value == 2 for d in self.decisions if d.subject == FORWARDS)
        return next(counted, self.dispatched)


@sealed(frozen=True)
class PortPlan:
    """The whole plan of a port."""

    name: str
    model: ModelPlan
    transformer: TransformerPlan
    pipeline: PipelinePlan
    todos: tuple[Decision, ...]

    @property
    def staged(self) -> bool:
        """Whether stages of a pipeline can share the transformer's blocks, as its forward and the loop are."""
        return self.transformer.stages is not None and shares_stages(self.pipeline)


def shares_stages(pipeline: PipelinePlan) -> bool:
    """Whether the loop of ``pipeline`` is written for stages, where its transformer has them."""
    return any(decision.subject == STAGES and decision.value for decision in pipeline.decisions)
