"""``__call__`` to ``forward(req)``: arguments bound from the request, one ``DiffusionOutput`` per request returned."""

from __future__ import annotations

import libcst as cst

from omniport.analyse.pipeline_knowledge import FIRST_PROMPT
from omniport.analyse.pipeline_output import Output, Processed, returned
from omniport.plan.model import ArgumentPlan, PipelinePlan
from omniport.rewrite.pipeline.alike import steps_alike
from omniport.rewrite.pipeline.blocks import Block, Statement, indented, parse, reads, rewrite_lines, suite
from omniport.rewrite.pipeline.facts import decision
from omniport.rewrite.pipeline.guider_scale import guider_scales
from omniport.rewrite.pipeline.liveness import drop_dead_stores
from omniport.source.syntax import dotted

_EXTRA = "extra:"


def forward(
    entry: cst.FunctionDef, plan: PipelinePlan, output: Output, processed: Processed | None
) -> list[cst.FunctionDef]:
    """``forward`` from the folded entry, whose denoising is a call of ``diffuse``; and what it needs beside it.

    ``processed`` is the post-processing that leaves the worker.
    """
    batched = _batched(plan)
    block = _replaced(entry, plan, output, processed, batched)
    prologue, block = _prologue(plan, block)
    text = f"def forward(self, req: DiffusionRequestBatch) -> list[DiffusionOutput]:\n{_head(plan, batched)}"
    method = parse(text)[0]
    assert isinstance(method, cst.FunctionDef)
    head = suite(method.body)
    first = block[0].with_changes(leading_lines=[cst.EmptyLine(indent=False), *_comments(block[0])])
    methods = [method.with_changes(body=indented([*head, *prologue, first, *block[1:]]))]
    return [_runs_together(plan), *methods] if batched else methods


def _replaced(
    entry: cst.FunctionDef, plan: PipelinePlan, output: Output, processed: Processed | None, batched: bool
) -> Block:
    """The body with every return as the port's, and post-processing left to the engine process."""

    def change(line: cst.SimpleStatementLine) -> Block:
        if processed is not None and line is processed.statement:
            same = processed.target == processed.value
            return [] if same else parse(f"{processed.target} = {processed.value}\n")
        last = line.body[-1]
        if isinstance(last, cst.Return):
            return _tail(plan, returned(last, output, plan.module, 0).source, batched)
        return [line]

    return drop_dead_stores(rewrite_lines(suite(entry.body), change))


def _comments(node: Statement) -> list[cst.EmptyLine]:
    return [line for line in node.leading_lines if line.comment is not None]


def _batched(plan: PipelinePlan) -> bool:
    found = decision(plan.decisions, "request batch")
    return found is not None and bool(found.value)


def _counts(plan: PipelinePlan) -> str:
    """What holds the number of outputs for each prompt; ``1`` where the reference makes one, whatever is asked."""
    outputs = decision(plan.decisions, "outputs per prompt")
    return str(outputs.value) if outputs is not None else "1"


def _head(plan: PipelinePlan, batched: bool) -> str:
    what = "every request of the batch" if batched else "the request"
    text = f'    """Generate the outputs of {what}."""\n'
    if batched:
        text += (
            "    if not self._runs_together(req):\n"
            "        alone = (DiffusionRequestBatch([request]) for request in req.requests)\n"
            "        return [output for one in alone for output in self.forward(one)]\n"
        )
    text += "    params = req.sampling_params_list[0]\n"
    if _counts(plan) == "1":
        makes = f"{plan.class_name} makes one output for each prompt"
        text += (
            "    if params.num_outputs_per_prompt != 1:\n"
            f'        raise ValueError(f"{makes}: {{params.num_outputs_per_prompt=}} is not supported")\n'
        )
    media = decision(plan.decisions, "media") is not None
    if media or any(FIRST_PROMPT in a.source for a in plan.arguments):
        text += f"    {FIRST_PROMPT} = req.prompts[0]\n"
    if media:
        text += f"    prompt_data = {FIRST_PROMPT} if isinstance({FIRST_PROMPT}, dict) else {{}}\n"
        text += '    media = prompt_data.get("multi_modal_data") or {}\n'
    return text


def _prologue(plan: PipelinePlan, block: Block) -> tuple[Block, Block]:
    """Binding statements; a value that only ``x = x or default`` reads is bound in that statement.

    Behind them what is refused, and what the guiders are given.
    """
    lines: list[str] = []
    for argument in plan.arguments:
        merged = _merged(argument, block)
        if merged is None:
            lines.append(f"{argument.name} = {argument.source}\n")
        else:
            block = merged
    return [*parse("".join(lines)), *steps_alike(plan.decisions), *guider_scales(plan)], block


def _merged(argument: ArgumentPlan, block: Block) -> Block | None:
    for index, node in enumerate(block):
        if argument.name not in reads(node):
            continue
        if not isinstance(node, cst.SimpleStatementLine) or not isinstance(node.body[0], cst.Assign):
            return None
        assign = node.body[0]
        value = assign.value
        plain = argument.source.replace(".", "").isidentifier()
        if not plain or dotted(assign.targets[0].target) != argument.name:
            return None
        if not isinstance(value, cst.BooleanOperation) or not isinstance(value.operator, cst.Or):
            return None
        if dotted(value.left) != argument.name or argument.name in reads(value.right):
            return None
        new = assign.with_changes(value=value.with_changes(left=cst.parse_expression(argument.source)))
        return [*block[:index], node.with_changes(body=[new]), *block[index + 1 :]]
    return None


def _tail(plan: PipelinePlan, result: str, batched: bool) -> Block:
    text = (
        "output = DiffusionOutput(\n"
        f"    output={result},\n"
        "    stage_durations=self.stage_durations if self.enable_diffusion_pipeline_profiler else {},\n"
        ")\n"
    )
    if batched:
        text += f"return split_diffusion_output_by_request(output, req, num_outputs_per_prompt={_counts(plan)})\n"
    else:
        text += "return [output]\n"
    block = parse(text)
    return [block[0].with_changes(leading_lines=[cst.EmptyLine(indent=False)]), *block[1:]]


def _runs_together(plan: PipelinePlan) -> cst.FunctionDef:
    """A method that tells whether one call for the batch equals one call for each request."""
    fields = ["negative_prompt"] if any(a.name == "negative_prompt" for a in plan.arguments) else []
    fields += [a.name for a in plan.arguments if "collate_prompt_fields" in a.source]
    extra = [a.name for a in plan.arguments if a.why.reason.startswith(_EXTRA)]
    latents = any("collate_request_tensors" in a.source for a in plan.arguments)
    lines = [
        "def _runs_together(self, req: DiffusionRequestBatch) -> bool:",
        '    """Whether all requests fill the same inputs, so that one call gives each what it would get alone."""',
    ]
    conditions = []
    if fields:
        lines.append(f"    fields = ({', '.join(repr(f) for f in fields)},)")
        lines.append(
            "    filled = [tuple(req.get_prompt_field(p, f) is not None for f in fields) for p in req.prompts]"
        )
        conditions.append("len(set(filled)) == 1")
    if latents:
        conditions.append("len({params.latents is None for params in req.sampling_params_list}) == 1")
    if extra:
        lines.append(f"    extra = {{{', '.join(repr(e) for e in extra)}}}")
        conditions.append("not any(extra & params.extra_args.keys() for params in req.sampling_params_list)")
    test = "\n        and ".join(conditions) or "True"
    lines.append(f"    return req.num_reqs == 1 or (\n        {test}\n    )")
    method = parse("\n".join(lines).replace("'", '"') + "\n")[0]
    assert isinstance(method, cst.FunctionDef)
    return method
