"""Whether stages of a pipeline can share the denoiser that a diffusers pipeline calls.

vLLM-Omni runs the whole loop on every rank.  Only the last stage has a prediction and steps the scheduler; the first is
sent the latents that come of it.  So nothing but the two calls of its mixin may read either.
"""

from __future__ import annotations

import libcst as cst

from omniport.analyse.pipeline_loop import find_span
from omniport.analyse.pipeline_output import Processed
from omniport.plan.model import Decision
from omniport.rewrite.pipeline.blocks import bound, reads, statements, suite
from omniport.rewrite.pipeline.denoiser import Denoisers
from omniport.rewrite.pipeline.guidance import Guided
from omniport.source.syntax import code
from omniport.source.walk import walk

PREDICT = "self.predict_noise_maybe_with_cfg("
STEP = "self.scheduler_step_maybe_with_cfg("


def stages(
    form: Guided,
    processed: Processed | None,
    decisions: tuple[Decision, ...],
    denoisers: Denoisers,
    file: str,
    line: int,
) -> tuple[bool, str]:
    """Whether a pipeline's loop does, and what says so.

    Args:
        form: the call of the pipeline with its guidance as calls of the mixin.
        processed: what is left to the engine process of what is made of the decoded.
        decisions: about guidance and loop.
        denoisers: what it calls to predict.
        file: of the pipeline.
        line: of the call, for what is refused.
    """
    known = {decision.subject: decision.value for decision in decisions}
    if not form.pairs:
        return False, "the loop does not predict through the guidance mixin"
    if known.get("guidance combine") != "default" or known.get("prediction") != "first" or form.single:
        return False, "the loop combines the predictions itself, and only the last stage has them"
    if reason := _decoded(form.entry, processed):
        return False, reason
    return _loop(form.entry, str(known["diffuse results"]).split(", "), denoisers, file, line)


def _decoded(entry: cst.FunctionDef, processed: Processed | None) -> str:
    """What a stage that decodes nothing, and is given ``(None,)`` in its place, could not do; "" if nothing."""
    everything = list(statements(suite(entry.body)))
    lines = [node for node in everything if isinstance(node, cst.SimpleStatementLine)]
    tests = [node.test for node in everything if isinstance(node, cst.If | cst.While)]
    if sum("vae.decode(" in code(line) for line in lines) != 1:
        return "the call does not decode in one statement of its own"
    at = next(i for i, line in enumerate(lines) if "vae.decode(" in code(line))
    made = bound([lines[at]])
    if any(made & set(reads(test)) for test in tests):
        return "a condition reads what is decoded, and the first stage alone has it"
    if not code(lines[at]).strip().endswith("return_dict=False)[0]") or len(made) != 1:
        return "what is decoded is read as an object, and the first stage alone has it"
    for line in lines[at + 1 :]:
        if processed is not None and line is processed.statement or code(line).strip().startswith("return"):
            continue
        if made & set(reads(line)):
            return "the call goes on with what is decoded, and the first stage alone has it"
    return ""


def _loop(entry: cst.FunctionDef, results: list[str], denoisers: Denoisers, file: str, line: int) -> tuple[bool, str]:
    """What the loop of ``entry`` says, which leaves ``results`` behind."""
    start, stop = find_span(entry, denoisers, file, line)
    inside = suite(entry.body)[start:stop]
    text = "".join(code(statement) for statement in inside)
    if text.count(PREDICT) != 1 or text.count(STEP) != 1:
        return False, "a round is not one prediction with guidance and one plain step"
    loops = [part for node in inside for part in walk(node) if isinstance(part, cst.For) and STEP in code(part)]
    if not loops:
        return False, "the denoising is no loop"
    body = suite(loops[-1].body)
    at = next((i for i, node in enumerate(body) if PREDICT in code(node)), None)
    if at is None or at + 1 >= len(body) or STEP not in code(body[at + 1]):
        return False, "the loop reads the prediction before the step, and only the last stage has one"
    if len(body) > at + 2:
        return False, "the loop does more behind the step, which only the last stage takes"
    stepped = bound([body[at + 1]])
    if set(results) != stepped:
        return False, "the loop leaves more behind than the latents"
    if any("self.scheduler" in code(node) for node in body[:at]):
        return False, "the loop reads the scheduler, whose step only the last stage takes"
    return True, "a round is one prediction and one step: the mixin sends the streams on and the latents back"
