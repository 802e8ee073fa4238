"""Autoencoders: encode and decode, in one class or in two that share a file and a stem."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from omniport.custom.code import ClassRef, nodes
from omniport.custom.facts import Facts, dotted
from omniport.custom.signals.backbone import TIMES
from omniport.custom.signals.score import Score
from omniport.plan.custom import Candidate

_NAME = re.compile(r"VAE|Auto_?[Ee]ncoder|VQ|MAGVIT", re.I)
_TEXT = re.compile(r"Text|Prompt|Tokenizer|Pipeline|Config|Loss|Processor|Block|Layer\Z|Wrapper\Z", re.I)
_STOCK = re.compile(r"Autoencoder\w+|VQModel\Z")
_PAIR = re.compile(r"(Encoder|Decoder)(\w*)\Z")


def find(facts: Facts) -> Iterator[Candidate]:
    for ref, of in facts.all.items():
        if _TEXT.search(ref.name):
            continue
        score = Score.of("vae", ref)
        if {"encode", "decode"} <= of.methods.keys():
            score.add(3, "encodes and decodes", of.methods["decode"])
        names = of.children.keys()
        if {"encoder", "decoder"} <= names:
            score.add(3, "has an encoder and a decoder", of.children["decoder"].line)
        if _NAME.search(ref.name):
            score.add(3, "is named as an autoencoder")
        if any("tile" in name or "quantize" in name for name in of.methods):
            score.add(1, "works in tiles or quantises")
        if {p.lower() for p in of.forward()} & TIMES:
            score.add(-4, "forward takes a time", of.methods["forward"])
        if score.total >= 5:
            yield score.candidate()
    yield from _pairs(facts)
    yield from _stock(facts)


def _pairs(facts: Facts) -> Iterator[Candidate]:
    """Encoder and decoder shipped as classes of their own (``VideoEncoder`` and ``VideoDecoder``)."""
    found: dict[tuple[str, str], dict[str, ClassRef]] = {}
    used = {
        built for ref, of in facts.all.items() for child in of.children.values() for built in facts.built(ref, child)
    }
    for ref, of in facts.all.items():
        pair = _PAIR.search(ref.name)
        convolves = any("Conv" in call for child in of.children.values() for call in child.calls)
        if pair and convolves and ref not in used and not _TEXT.search(ref.name):
            found.setdefault((ref.file.path, ref.name[: pair.start()] + pair[2]), {})[pair[1]] = ref
    for pairs in found.values():
        if len(pairs) == 2:
            score = Score.of("vae", pairs["Decoder"])
            score.add(5, f"{pairs['Encoder'].name} and {pairs['Decoder'].name} are a pair of convolutional halves")
            yield score.candidate()


def _stock(facts: Facts) -> Iterator[Candidate]:
    """Autoencoders of diffusers that the code builds or loads."""
    for file in facts.tree.files:
        if file.side:
            continue
        names = {
            n for n, (module, _) in file.imports.items() if module.split(".")[0] == "diffusers" and _STOCK.match(n)
        }
        for node in nodes(file.tree) if names else ():
            called = dotted(node.func) if isinstance(node, ast.Call) else ""
            if called.split(".")[0] in names and called.rpartition(".")[2] in (
                called,
                "from_pretrained",
                "from_config",
            ):
                score = Score("vae", called.split(".")[0], file, node)
                score.add(6, "an autoencoder of diffusers", node)
                yield score.candidate()
                names.discard(called.split(".")[0])
