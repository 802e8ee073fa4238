"""OP409: the schedule is shifted by the number of channels."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import Function, SourceFile, constant, dotted, last_name, method, parameters

_LENGTH = ("image_seq_len", "seq_len")


class ShiftFromChannels(Rule):
    """The schedule is shifted by the number of channels.

    ``latents.shape[1]`` is given where the number of image tokens is wanted, to ``calculate_shift`` or to a method's
    ``image_seq_len``, while ``prepare_latents`` of the class makes latents ``[batch, channels, height, width]`` and
    packs them nowhere.

    Why: axis 1 is the number of tokens for packed latents only.  SD3 of vllm-omni 0.30.0 took the line from FLUX and
    computes ``mu`` from 16, whatever the size of the image; the schedule is that of the smallest image wherever the
    scheduler shifts dynamically.

    Fix: ``(height // patch) * (width // patch)`` of the latents, as the reference has it.
    """

    code = "OP409"
    name = "shift-from-channels"
    VALID = (
        """
        class Pipe:
            def prepare_latents(self, batch, channels, height, width):
                shape = (batch, channels, height, width)
                return self._pack_latents(randn_tensor(shape))
            def forward(self, req):
                latents = self.prepare_latents(1, 16, 64, 64)
                mu = calculate_shift(latents.shape[1], 256, 4096, 0.5, 1.15)
        """,
        """
        class Pipe:
            def prepare_latents(self, batch, channels, height, width):
                shape = (batch, channels, height, width)
                return randn_tensor(shape)
            def forward(self, req):
                latents = self.prepare_latents(1, 16, 64, 64)
                image_seq_len = (latents.shape[2] // 2) * (latents.shape[3] // 2)
                mu = calculate_shift(image_seq_len, 256, 4096, 0.5, 1.15)
        """,
    )
    INVALID = (
        """
        class Pipe:
            def prepare_latents(self, batch, channels, height, width):
                shape = (batch, channels, height, width)
                return randn_tensor(shape)
            def forward(self, req):
                latents = self.prepare_latents(1, 16, 64, 64)
                mu = calculate_shift(latents.shape[1], 256, 4096, 0.5, 1.15)
        """,
        """
        class Pipe:
            def prepare_latents(self, batch, channels, height, width):
                shape = (batch, channels, height, width)
                return randn_tensor(shape)
            def prepare_timesteps(self, steps, image_seq_len):
                return calculate_shift(image_seq_len, 256, 4096, 0.5, 1.15)
            def forward(self, req):
                latents = self.prepare_latents(1, 16, 64, 64)
                timesteps = self.prepare_timesteps(28, latents.shape[1])
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("latents.shape[1]") or not file.mentions("prepare_latents"):
                continue
            for cls in file.nodes(ast.ClassDef):
                prepare = method(cls, "prepare_latents")
                if prepare is None or not _spatial(file, prepare):
                    continue
                for call in file.nodes(ast.Call, within=cls):
                    for place in _lengths(cls, call):
                        if _channels(place):
                            yield self.at(
                                file, place, "axis 1 of these latents is the channels, not the image's tokens"
                            )


def _spatial(file: SourceFile, prepare: Function) -> bool:
    """Whether latents are drawn with channels on axis 1 and rows and columns behind, and stay so."""
    if any("pack" in last_name(call.func) for call in file.nodes(ast.Call, within=prepare)):
        return False
    shapes = [
        node.value
        for node in file.nodes(ast.Assign, within=prepare)
        if isinstance(node.value, ast.Tuple) and any(last_name(t) == "shape" for t in node.targets)
    ]
    return bool(shapes) and all(len(shape.elts) in (4, 5) and "channel" in last_name(shape.elts[1]) for shape in shapes)


def _lengths(cls: ast.ClassDef, call: ast.Call) -> list[ast.expr]:
    """The arguments of a call that are the number of image tokens."""
    if last_name(call.func) == "calculate_shift":
        return [*call.args[:1], *(k.value for k in call.keywords if k.arg in _LENGTH)]
    if not dotted(call.func).startswith("self."):
        return []
    names = parameters(method(cls, last_name(call.func)))[1:]
    placed = [value for name, value in zip(names, call.args, strict=False) if name in _LENGTH]
    return placed + [k.value for k in call.keywords if k.arg in _LENGTH]


def _channels(node: ast.expr) -> bool:
    """Whether an expression is ``latents.shape[1]``."""
    return isinstance(node, ast.Subscript) and dotted(node.value) == "latents.shape" and constant(node.slice) == 1
