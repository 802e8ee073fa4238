"""Parameters of a pipeline's call: where each comes from in a request, and which go."""

from __future__ import annotations

import ast
import dataclasses
import re

from omniport.analyse import pipeline_knowledge as knowledge
from omniport.analyse import pipeline_reading as reading
from omniport.plan.model import ArgumentPlan, Decision, Why
from omniport.rewrite.pipeline import facts
from omniport.source.nodes import each_node
from omniport.source.tree import SourceModule


def arguments(call: ast.FunctionDef, module: SourceModule) -> tuple[list[ArgumentPlan], list[Decision], str]:
    """Where the parameters of ``call`` come from, those that go, and the one that counts outputs (empty if none does).

    Raises:
        UnsupportedError: the call takes ``*`` arguments.
    """
    found: list[ArgumentPlan] = []
    dropped: list[Decision] = []
    together = not apart(call, module)
    parameters = list(reading.parameters(call, module.file, stars=call.args.vararg is None))
    names = [a.arg for a, _ in parameters]
    outputs = next((n for n in names if knowledge.BINDINGS.get(n) is knowledge.OUTPUTS), "")
    for argument, default in parameters:
        place = (module.file, argument.lineno)
        gone = next((d for d in knowledge.DROPPED_ARGUMENTS if d[0].match(argument.arg)), None)
        if gone is not None:
            dropped.append(Decision(f"{facts.ARGUMENT} {argument.arg}", gone[1], Why(gone[2], *place)))
            continue
        text = "None" if default is None else ast.unparse(default)
        binding = _binding(argument, text, names)
        if not together and binding.source in knowledge.ONE:
            binding = dataclasses.replace(binding, source=knowledge.ONE[binding.source])
        source = _source(binding, argument.arg, text, outputs or "1", names)
        found.append(ArgumentPlan(argument.arg, source, text, Why(f"{binding.scope}: {binding.reason}", *place)))
    return _embeds_replace_prompts(found), dropped, outputs


def apart(call: ast.FunctionDef, module: SourceModule) -> str:
    """Why requests cannot run as one batch; empty if they can."""
    parameters = list(reading.parameters(call, module.file, stars=True))
    names = [a.arg for a, _ in parameters]
    read = {n.id for s in call.body for n in each_node(s) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    for argument, default in parameters:
        gone = any(d[0].match(argument.arg) for d in knowledge.DROPPED_ARGUMENTS)
        if argument.arg not in read or gone:
            continue
        if _binding(argument, "None" if default is None else ast.unparse(default), names).scope == "request":
            return f"{argument.arg} may differ between requests"
    if not any(knowledge.BINDINGS.get(n) is knowledge.OUTPUTS for n in names):
        return "the call does not count outputs per prompt, so a batch cannot be told apart"
    return ""


def no_warm_up(node: ast.ClassDef, call: ast.FunctionDef, found: list[ArgumentPlan]) -> tuple[str, int]:
    """Why the engine's start-up request cannot run (empty if it can), and the line that shows it.

    That request has a prompt, an image and audio where the port says that it takes them, and guidance 0.
    """
    required = {a.arg for a, default in reading.parameters(call, "", stars=True) if default is None}
    for argument in found:
        if argument.name in required and argument.why.reason.startswith("extra:"):
            return f"the warm-up request brings no {argument.name}", argument.why.line
    if others := [key for key in media_keys(found) if key not in ("image", "audio", "last_image")]:
        return f"the warm-up request brings no {others[0]}", node.lineno
    annotations = {a.arg: reading.names_in(a.annotation) for a, _ in reading.parameters(call, "", stars=True)}
    for argument in found:
        kinds = annotations[argument.name]
        if media_keys([argument]) == ["audio"] and "Tensor" in kinds and "ndarray" not in kinds:
            return f"the warm-up request brings an array, and {argument.name} is a tensor", argument.why.line
    defaults = {a.arg: ast.unparse(d) for a, d in reading.parameters(call, "", stars=True) if d is not None}
    for inner in each_node(node):
        test = inner.test if isinstance(inner, ast.If) and isinstance(inner.body[0], ast.Raise) else None
        both = _given_both(test)
        if "guidance_scale" in both and any(defaults.get(n, "None") != "None" for n in both - {"guidance_scale"}):
            return (
                f"the warm-up request has guidance_scale; the checks want one of {', '.join(sorted(both))}",
                test.lineno if test is not None else 0,
            )
        if (
            isinstance(test, ast.Compare)
            and reading.dotted(test.left) == "guidance_scale"
            and isinstance(test.ops[0], ast.Lt)
            and ast.unparse(test.comparators[0]) not in ("0", "0.0")
        ):
            return "the warm-up request asks for guidance 0, which the checks refuse", test.lineno
    return "", 0


def _given_both(test: ast.expr | None) -> set[str]:
    """The names of ``a is not None and b is not None``; empty for every other condition."""
    if not isinstance(test, ast.BoolOp) or not isinstance(test.op, ast.And):
        return set()
    parts = [ast.unparse(value) for value in test.values]
    return {p.removesuffix(" is not None") for p in parts} if all(p.endswith(" is not None") for p in parts) else set()


def media_keys(found: list[ArgumentPlan]) -> list[str]:
    """Keys of ``multi_modal_data`` that the arguments read, in order."""
    start = knowledge.MEDIUM.source.split("{")[0]
    return [a.source[len(start) :].split('"')[0] for a in found if a.source.startswith(start)]


def _binding(argument: ast.arg, default: str, names: list[str]) -> knowledge.Binding:
    name = argument.arg
    if name == "output_type":
        return knowledge.ENGINE_OUTPUT_TYPE if default == "'pil'" else knowledge.OUTPUT_TYPE
    if name == "negative_prompt" and default != "None":
        return knowledge.NEGATIVE_OR
    if name in knowledge.BINDINGS:
        binding = knowledge.BINDINGS[name]
        usable = binding.only is None or default == binding.only
        if binding is knowledge.FRAMES:
            usable = default.isdigit()
        return binding if usable else knowledge.EXTRA
    annotated = reading.names_in(argument.annotation)
    if knowledge.PROMPT_TENSORS.match(name):
        return knowledge.PROMPT_LIST if annotated & {"list", "List"} else knowledge.PROMPT_TENSOR
    if knowledge.LATENTS.match(name):
        return knowledge.EXTRA
    if knowledge.MEDIA.match(name) and annotated & knowledge.MEDIA_TYPES:
        return knowledge.MEDIUM
    return knowledge.EXTRA


def _source(binding: knowledge.Binding, name: str, default: str, outputs: str, names: list[str]) -> str:
    if default == "None" and binding.source.endswith(" is not None else {default}"):
        return binding.source.split(" if ")[0]
    if default == "None" and binding.source.endswith(", {default})"):
        binding = knowledge.Binding(binding.source.replace(", {default})", ")"), binding.scope, binding.reason)
    text = binding.source.replace("{key}", _key(name, names)).replace("{name!r}", f'"{name}"').replace("{name}", name)
    return text.replace("{default}", default).replace("{outputs}", outputs)


def _key(name: str, names: list[str]) -> str:
    for key, pattern in knowledge.MEDIA_KEYS.items():
        if pattern.match(name) and (name == key or (key not in names and name == _first(pattern, names))):
            return key
    return name


def _first(pattern: re.Pattern[str], names: list[str]) -> str:
    return next(n for n in names if pattern.match(n))


def _embeds_replace_prompts(found: list[ArgumentPlan]) -> list[ArgumentPlan]:
    """Embeddings come first, and a prompt whose embeddings are given is None, as the reference's checks demand."""
    names = {a.name for a in found}
    first = [a for a in found if knowledge.PROMPT_TENSORS.match(a.name)]
    rest = []
    for argument in found:
        embeds = f"{argument.name}_embeds"
        if argument.name in ("prompt", "negative_prompt") and embeds in names:
            value = argument.source if argument.source.endswith("]") else f"({argument.source})"
            argument = ArgumentPlan(
                argument.name, f"None if {embeds} is not None else {value}", argument.default, argument.why
            )
        if argument not in first:
            rest.append(argument)
    outputs = [a for a in rest if a.source == knowledge.OUTPUTS.source]
    return first + outputs + [a for a in rest if a not in outputs]
