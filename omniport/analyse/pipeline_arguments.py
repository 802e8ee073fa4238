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


def arguments(
    node: ast.ClassDef, call: ast.FunctionDef, module: SourceModule
) -> tuple[list[ArgumentPlan], list[Decision], str]:
    """Where the parameters of ``call`` come from, those that go, and the one that counts outputs (empty if none does).

    Args:
        node: the pipeline's class.
        call: its ``__call__``.
        module: that of the class.

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
        if binding is knowledge.MEDIUM and _single(argument, text, names) and _handed_as_list(node, call, argument.arg):
            binding = knowledge.MEDIA_LIST
        if binding is knowledge.MEDIA_LIST and f"isinstance({argument.arg}, list)" in ast.unparse(call):
            binding = knowledge.MEDIUM  # the reference makes a list itself
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


def media_keys(found: list[ArgumentPlan]) -> list[str]:
    """Keys of ``multi_modal_data`` that the arguments read, in order."""
    return [key[1] for a in found if (key := re.search(r'\bmedia\.get\("(\w+)"', a.source))]


def prompt_kinds(found: list[ArgumentPlan]) -> list[Decision]:
    """What each prompt among ``found`` is in the port: None, a string, a list of strings."""
    decisions = []
    for argument in found:
        if argument.name not in ("prompt", "negative_prompt") or argument.why.reason.startswith("extra"):
            continue
        source = argument.source
        if given := source.startswith("None if "):
            source = source.partition(" else ")[2].removeprefix("(").removesuffix(")")
        alone = source.startswith(f"req.get_prompt_field({knowledge.FIRST_PROMPT}")
        default = source.startswith(("n if", "[n if")) and (argument.default or "")[:1] not in "'\""
        if default:
            continue  # the reference's default may be anything
        kinds = ["None"] if given or alone or source.endswith(" or None") else []
        kinds.append("list" if source.startswith("[") else "str")
        reason = "a prompt of a request is one string" + (", a batch has a list of them" if kinds[-1] == "list" else "")
        decisions.append(
            Decision(
                f"{facts.KINDS} {argument.name}", ", ".join(kinds), dataclasses.replace(argument.why, reason=reason)
            )
        )
    return decisions


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
            if default == "None":
                return knowledge.FRAMES_OR_NONE
            usable = default.isdigit()
        return binding if usable else knowledge.EXTRA
    annotated = reading.names_in(argument.annotation)
    if knowledge.PROMPT_TENSORS.match(name):
        return knowledge.PROMPT_LIST if annotated & {"list", "List"} else knowledge.PROMPT_TENSOR
    if knowledge.LATENTS.match(name):
        return knowledge.EXTRA
    if knowledge.MEDIA.match(name) and annotated & knowledge.MEDIA_TYPES:
        listed = _single(argument, default, names) and _listed_pictures(argument.annotation)
        return knowledge.MEDIA_LIST if listed else knowledge.MEDIUM
    return knowledge.EXTRA


def _single(argument: ast.arg, default: str, names: list[str]) -> bool:
    """Whether a front end gives one picture for an argument as itself, and it may be left out."""
    return _key(argument.arg, names) == "image" and default == knowledge.MEDIA_LIST.only


def _handed_as_list(node: ast.ClassDef, call: ast.FunctionDef, name: str) -> bool:
    """Whether a call hands its argument on, as it came, to a method of the same class that wants pictures in a list."""
    methods = {f"self.{m.name}": m for m in node.body if isinstance(m, ast.FunctionDef)}
    calls = [n for n in each_node(call) if isinstance(n, ast.Call)]
    stores = [n.lineno for n in each_node(call) if isinstance(n, ast.Name) and n.id == name and _stores(n)]
    for made in (n for n in calls if all(n.lineno < line for line in stores)):
        method = methods.get(reading.dotted(made.func) or "")
        for value, parameter in _given(made, method) if method is not None else ():
            if reading.dotted(value) == name and _listed_pictures(parameter.annotation):
                return True
    return False


def _stores(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def _given(node: ast.Call, method: ast.FunctionDef) -> list[tuple[ast.expr, ast.arg]]:
    """The arguments of a call of a method, each with its parameter."""
    static = any(reading.dotted(d) == "staticmethod" for d in method.decorator_list)
    parameters = [*method.args.posonlyargs, *method.args.args][0 if static else 1 :]
    named = {p.arg: p for p in (*parameters, *method.args.kwonlyargs)}
    found = [(k.value, named[k.arg]) for k in node.keywords if k.arg in named]
    return [*zip(node.args, parameters, strict=False), *found]


def _listed_pictures(annotation: ast.expr | None) -> bool:
    """Whether an annotation wants pictures in a list, a single one too (``list[Image] | list[list[Image]] | None``)."""
    parts = [annotation] if annotation is not None else []
    listed = 0
    while parts:
        part = parts.pop()
        if isinstance(part, ast.BinOp):
            parts += [part.left, part.right]
        elif isinstance(part, ast.Subscript) and reading.dotted(part.value) in ("list", "List"):
            listed += "Image" in reading.names_in(part.slice)
        elif not reading.is_none(part):
            return False
    return listed > 0


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
            compound = isinstance(ast.parse(argument.source, mode="eval").body, ast.BoolOp | ast.IfExp)
            value = f"({argument.source})" if compound else argument.source
            argument = ArgumentPlan(
                argument.name, f"None if {embeds} is not None else {value}", argument.default, argument.why
            )
        if argument not in first:
            rest.append(argument)
    outputs = [a for a in rest if a.source == knowledge.OUTPUTS.source]
    return first + outputs + [a for a in rest if a not in outputs]
