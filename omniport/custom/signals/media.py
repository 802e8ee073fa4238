"""What the model takes and gives: pictures, videos, sound.

Two sources: functions that generate (their names, their parameters, what they read and write), and the models
themselves (the rank of convolutions in autoencoder and denoiser, a vocoder).  Functions are those around a denoising
loop of this denoiser, with what they call; a loop that stands nearer to another denoiser says nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import field

from omniport.custom.calls import Calls, Function
from omniport.custom.code import ClassRef, CodeFile, nodes
from omniport.custom.facts import Facts, dotted
from omniport.custom.signals.media_words import (
    AUDIO_READERS,
    COMPANIONS,
    FRAMES,
    IMAGE_READERS,
    INPUTS,
    PICTURES,
    RETURNS,
    SECONDS,
    STOCK,
    TITLES,
    VIDEO_READERS,
    VOCODER,
    WORDS,
    WRITERS,
)
from omniport.plan.custom import Candidate, Medium
from omniport.plan.model import Why
from omniport.records import dataclass

KINDS: tuple[Medium, ...] = ("image", "video", "audio")
_PIPELINE = re.compile(r"(Pipeline|Inference|Generator)\Z")
_CALLED = frozenset({"__call__", "generate", "sample", "infer", "inference"})
_CONVOLUTION = re.compile(r"Conv(?:Transpose)?([123])d\Z")
_DENOISER = 7  # score of a class that counts as another denoiser
_DISTANCE = 5  # imports between a loop and its denoiser


@dataclass
class Gathered:
    """Points for one medium: ``told`` by functions that generate, ``shaped`` by the models."""

    what: str
    told: int = 0
    shaped: int = 0
    evidence: list[Why] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def add(self, points: int, sort: str, reason: str, file: str, line: int, *, told: bool = True) -> None:
        """Points for one sort of evidence, counted once."""
        if sort in self.seen:
            return
        self.seen.add(sort)
        if told:
            self.told += points
        else:
            self.shaped += points
        self.evidence.append(Why(f"{points:+d} {reason}", file, line))

    @property
    def total(self) -> int:
        return self.told + self.shaped

    def candidate(self) -> Candidate:
        first = self.evidence[0]
        return Candidate("media", self.what, first.file, first.line, self.total, tuple(self.evidence))


@dataclass(frozen=True)
class Entry:
    """A function that generates, and what it takes besides text: where each is said; which of it comes in numbers."""

    function: Function
    inputs: dict[str, Why]
    several: bool
    alone: Why | None  # what a request of a prompt and those inputs does not bring


@dataclass(frozen=True)
class Media:
    """Everything that was seen."""

    outputs: dict[str, Gathered]
    entries: tuple[Entry, ...]
    rates: tuple[tuple[int, Why], ...]  # sample rates that sound is written with
    colours: tuple[tuple[str, Why], ...]  # colour formats that pictures are turned into, other than RGB

    def candidates(self) -> Iterator[Candidate]:
        """Outputs by their score, then inputs."""
        yield from (found.candidate() for found in self.outputs.values() if found.evidence)
        for kind in KINDS:
            whys = tuple(dict.fromkeys(e.inputs[kind] for e in self.entries if kind in e.inputs))
            if whys:
                yield Candidate("media", f"{kind} input", whys[0].file, whys[0].line, 3 * len(whys), whys)


def find(facts: Facts, backbone: Candidate, found: list[Candidate], components: tuple[tuple[str, Why], ...]) -> Media:
    """What the repository says of the media of the denoiser ``backbone``.

    Args:
        facts: of its classes.
        backbone: the denoiser.
        found: candidates of every role.
        components: classes that an index names beside the denoiser.
    """
    calls = Calls(facts.tree)
    outputs: dict[str, Gathered] = {kind: Gathered(f"{kind} output") for kind in KINDS}
    rates: list[tuple[int, Why]] = []
    colours: list[tuple[str, Why]] = []
    entries = []
    bytes_ = {(c.file, c.name) for c in found if any("scales to bytes" in w.reason for w in c.evidence)}
    for function, around in _generating(calls, backbone, found):
        below = calls.below(around)
        _titles(outputs, function)
        _parameters(outputs, around)
        for each in below:
            _written(outputs, each, rates)
            if (each.file.path, each.title) in bytes_:
                outputs["image"].add(1, "bytes", f"{each.title} scales to bytes", each.file.path, each.line)
            colours += _colours(each)
        entries.append(_entry(function, around, below))
    _denoiser(outputs, facts, backbone)
    _autoencoders(outputs, facts, found, components)
    return Media(outputs, tuple(entries), tuple(rates), tuple(colours))


# -------------------------------------------------------------------------------------------- functions that generate
def _generating(calls: Calls, backbone: Candidate, found: list[Candidate]) -> Iterator[tuple[Function, list[Function]]]:
    """Each loop, or pipeline without one, of this denoiser, and what leads to it."""
    loops = [calls.named(c.file, c.name) for c in found if c.role == "denoise loop"]
    pipelines = [
        f for file in calls.files for f in calls.functions(file) if _PIPELINE.search(f.owner) and f.name in _CALLED
    ]
    denoisers = {(c.file, c.name) for c in found if c.role == "backbone" and c.score >= _DENOISER}
    denoisers.add((backbone.file, backbone.name))
    seen: set[Function] = set()
    for function in (*loops, *pipelines):
        if function is None or function in seen:
            continue
        around = calls.around(function)
        nearest = _nearest(calls, [function.file], denoisers) or _nearest(calls, [f.file for f in around], denoisers)
        if backbone.file not in (nearest or ({backbone.file} if function in loops else ())):
            continue
        seen.update(around)
        yield function, around


def _nearest(calls: Calls, start: list[CodeFile], denoisers: set[tuple[str, str]]) -> set[str]:
    """The files of denoisers that are imported by name, or that the fewest imports lead to."""
    refs = (calls.tree.resolve(file, name) for _, name in denoisers for file in start if name in file.imports)
    if named := {ref.file.path for ref in refs if ref is not None and (ref.file.path, ref.name) in denoisers}:
        return named
    seen, level = {f.path for f in start}, list(start)
    for _ in range(_DISTANCE):
        if here := {f.path for f in level} & {path for path, _ in denoisers}:
            return here
        following = {}
        for file in level:
            for module, attribute in file.imports.values():
                for name in (f"{module}.{attribute}" if attribute else "", module):
                    target = calls.tree.module(name, file) if name else None
                    if target is not None and target.path not in seen:
                        following[target.path] = target
        seen |= following.keys()
        level = list(following.values())
    return set()


def _titles(outputs: dict[str, Gathered], function: Function) -> None:
    for kind, pattern in TITLES.items():
        if pattern.search(function.title) or pattern.search(function.file.parts[-1]):
            outputs[kind].add(2, "title", f"{function.title} is named so", function.file.path, function.line)


def _parameters(outputs: dict[str, Gathered], around: list[Function]) -> None:
    framed = False
    for function in around:
        path, names = function.file.path, [(a.arg, a.lineno) for a, _ in function.parameters]
        for name, line in names:
            if FRAMES.match(name):
                framed = True
                outputs["video"].add(3, "parameter", f"{function.title} takes {name}", path, line)
            elif VOCODER.search(name):
                outputs["audio"].add(3, "vocoder", f"{function.title} takes {name}", path, line)
            elif SECONDS.match(name):
                outputs["audio"].add(1, "parameter", f"{function.title} takes {name}", path, line)
    for function in around:
        _returned(outputs, function)
        names = [(a.arg, a.lineno) for a, _ in function.parameters]
        if not framed and {"height", "width"} <= {n for n, _ in names}:
            reason = f"{function.title} takes height and width, and no frames"
            outputs["image"].add(2, "parameter", reason, function.file.path, function.line)


def _returned(outputs: dict[str, Gathered], function: Function) -> None:
    for node in (n for n in function.nodes if isinstance(n, ast.Return) and n.value is not None):
        value = node.value.elts[0] if isinstance(node.value, ast.Tuple) and node.value.elts else node.value
        while isinstance(value, ast.Subscript):
            value = value.value
        name = dotted(value).rpartition(".")[2] if value is not None else ""
        for kind, pattern in RETURNS.items():
            if name and pattern.match(name):
                reason = f"{function.title} returns {name}"
                outputs[kind].add(2, "returns", reason, function.file.path, node.lineno)


def _written(outputs: dict[str, Gathered], function: Function, rates: list[tuple[int, Why]]) -> None:
    """Calls that write a file or make a picture."""
    for node in function.nodes:
        if not isinstance(node, ast.Call) or not (name := dotted(node.func)):
            continue
        whole = full(function.file, name)
        path, line = function.file.path, node.lineno
        for kind, (points, pattern) in WRITERS.items():
            if pattern.search(whole):
                outputs[kind].add(points, "writes", f"{function.title} calls {name}", path, line)
                if kind == "audio" and (rate := _rate(node)) is not None:
                    rates.append((rate, Why(f"{function.title} writes sound with it", path, line)))
        if VOCODER.search(name):
            outputs["audio"].add(3, "vocoder", f"{function.title} calls {name}", path, line)


def _rate(node: ast.Call) -> int | None:
    """The sample rate that a call gives as a number."""
    given = [k.value for k in node.keywords if k.arg in ("sample_rate", "samplerate", "rate")] + node.args[2:3]
    found = [v.value for v in given if isinstance(v, ast.Constant) and type(v.value) is int]
    return found[0] if found and found[0] >= 4000 else None


def _colours(function: Function) -> Iterator[tuple[str, Why]]:
    for node in function.nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "convert":
            value = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            if value in ("RGBA", "L"):
                why = Why(f"{function.title} converts pictures to {value}", function.file.path, node.lineno)
                yield str(value), why


def full(file: CodeFile, name: str) -> str:
    """A dotted name with its head as it was imported: ``sf.write`` is ``soundfile.write``."""
    head, dot, rest = name.partition(".")
    module, attribute = file.imports.get(head, (head, None))
    return (f"{module}.{attribute}" if attribute else module) + dot + rest


def _entry(function: Function, around: list[Function], below: list[Function]) -> Entry:
    inputs: dict[str, Why] = {}
    several = False
    alone: Why | None = None
    for each in around:
        for argument, needed in each.parameters:
            path = each.file.path
            for kind, pattern in INPUTS.items():
                if pattern.match(argument.arg) and _used(each, argument.arg):
                    inputs.setdefault(kind, Why(f"{each.title} takes {argument.arg}", path, argument.lineno))
                    listed = argument.annotation is not None and "ist[" in ast.unparse(argument.annotation)
                    several |= kind == "image" and (bool(PICTURES.search(argument.arg)) or listed)
            if needed and COMPANIONS.match(argument.arg):
                alone = alone or Why(f"{each.title} also needs {argument.arg}", path, argument.lineno)
    for kind, readers in (("image", IMAGE_READERS), ("audio", AUDIO_READERS), ("video", VIDEO_READERS)):
        for each in below if kind not in inputs else ():
            for name in sorted(each.called):
                if readers.search(full(each.file, name)):
                    line = next((n.lineno for n in each.nodes if isinstance(n, ast.Call) and dotted(n.func) == name), 0)
                    inputs.setdefault(kind, Why(f"{each.title} calls {name}", each.file.path, line))
    return Entry(function, inputs, several, alone)


def _used(function: Function, name: str) -> bool:
    """Whether it is read, and is not what a loop makes anew from itself, as latents are."""
    read = any(isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load) for n in function.nodes)
    stepped = (
        inner
        for loop in function.nodes if isinstance(loop, ast.For)
        for inner in nodes(loop) if isinstance(inner, ast.Assign)
        if any(isinstance(t, ast.Name) and t.id == name for t in inner.targets)
        if any(isinstance(n, ast.Name) and n.id == name for n in nodes(inner.value))
    )  # fmt: skip
    return read and next(stepped, None) is None


# ------------------------------------------------------------------------------------------------------------- models
def _denoiser(outputs: dict[str, Gathered], facts: Facts, backbone: Candidate) -> None:
    file = next(f for f in facts.tree.files if f.path == backbone.file)
    if backbone.name not in file.classes:
        return
    of = facts.of(ClassRef(file, backbone.name))
    for argument in of.forward():
        if WORDS["video"].search(argument) or FRAMES.match(argument) or "_T_H_W" in argument:
            line = of.methods["forward"].lineno
            outputs["video"].add(3, "forward", f"{backbone.name}.forward takes {argument}", file.path, line, told=False)
    for child in of.children.values():
        for rank in _ranks(child.calls):
            if rank > 1:
                kind, points = ("video", 3) if rank == 3 else ("image", 2)
                reason = f"{backbone.name}.{child.name} is a convolution of {rank} axes"
                outputs[kind].add(points, "denoiser", reason, file.path, child.line, told=False)
    for kind, pattern in WORDS.items():
        if TITLES[kind].search(file.parts[-1]) or pattern.search(backbone.name) or pattern.search(file.path):
            reason = f"{file.path}:{backbone.name} is named so"
            outputs[kind].add(1, "name", reason, file.path, backbone.line, told=False)


def _ranks(calls: tuple[str, ...]) -> set[int]:
    return {int(m[1]) for call in calls if (m := _CONVOLUTION.search(call))}


def _autoencoders(
    outputs: dict[str, Gathered], facts: Facts, found: list[Candidate], components: tuple[tuple[str, Why], ...]
) -> None:
    for candidate in (c for c in found if c.role == "vae"):
        file = next(f for f in facts.tree.files if f.path == candidate.file)
        if candidate.name not in file.classes:
            _stock(outputs, candidate.name, Why("", candidate.file, candidate.line), 3)
            continue
        ranks, colours = _rank(facts, ClassRef(file, candidate.name), frozenset())
        named = next((k for k, pattern in WORDS.items() if k != "image" and pattern.search(candidate.name)), None)
        kind = named or {1: "audio", 2: "image", 3: "video"}.get(max(ranks, default=0))
        if kind is not None:
            reason = f"{candidate.name} " + (
                "is named so" if named else f"has convolutions of {max(ranks)} {'axis' if max(ranks) == 1 else 'axes'}"
            )
            outputs[kind].add(3, "autoencoder", reason, candidate.file, candidate.line, told=False)
        if kind == "image" and colours:
            reason = f"{candidate.name} gives three channels"
            outputs["image"].add(1, "channels", reason, candidate.file, colours, told=False)
    # A spectrogram's autoencoder is a picture's; an index with one has a vocoder, too.
    vocoder = next((why for name, why in components if VOCODER.search(name)), None)
    for name, why in components:
        _stock(outputs, name, why, 4 if vocoder is None else 3)
    if vocoder is not None:
        outputs["audio"].add(4, "vocoder", "the index names a vocoder", vocoder.file, vocoder.line, told=False)


def _stock(outputs: dict[str, Gathered], name: str, why: Why, points: int) -> None:
    kind = next((k for k, pattern in STOCK.items() if pattern.search(name)), None)
    if kind is not None:
        outputs[kind].add(points, "autoencoder", f"{name} decodes to {kind}", why.file, why.line, told=False)


def _rank(facts: Facts, ref: ClassRef, seen: frozenset[ClassRef]) -> tuple[set[int], int]:
    """Axes of the convolutions of a class and its parts, and the line of one with three channels."""
    ranks: set[int] = set()
    colours = 0
    of = facts.of(ref)
    for child in of.children.values():
        ranks |= _ranks(child.calls)
        for built in facts.built(ref, child):
            if built not in seen and built != ref and len(seen) < 30:
                inner, line = _rank(facts, built, seen | {ref})
                ranks |= inner
                colours = colours or (line if built.file == ref.file else 0)
    made = (n for method in of.methods.values() for n in nodes(method) if isinstance(n, ast.Call))
    for call in made if not colours else ():
        three = any(isinstance(a, ast.Constant) and a.value == 3 for a in call.args[:2])
        if three and _CONVOLUTION.search(dotted(call.func)):
            colours = call.lineno
    ranks |= {rank for base in of.bases for rank in _ranks((base,))}
    return ranks, colours
