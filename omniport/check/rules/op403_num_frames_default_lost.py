"""OP403: a request without num_frames gets one frame."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.requests import mentions_attribute, sampling_reads
from omniport.check.source import SourceFile, constant


class NumFramesDefaultLost(Rule):
    """A request without ``num_frames`` gets one frame: the default that stands beside it never fires.

    ``sampling.num_frames or 81``, ``sampling.num_frames if sampling.num_frames else 81`` and the like, in a function
    that neither compares with 1 nor calls ``resolve_video_num_frames``.

    Why: the field's default is 1, which is true, so the model's default is dead code and a video pipeline called
    from Python without the field returns a single frame.  So in Wan2.2 (three pipelines), HunyuanVideo 1.5 (two),
    Helios, LTX-2 and LongCat-Video of vllm-omni 0.30.0, with 81, 121, 132 and 93 frames as dead defaults.

    Fix: ``resolve_video_num_frames(sampling.num_frames, default_num_frames=81, is_dummy_run=req.is_dummy_run())``.
    """

    code = "OP403"
    name = "num-frames-default-lost"
    VALID = (
        """
        def forward(self, req):
            frames = resolve_video_num_frames(req.sampling_params.num_frames, default_num_frames=81)
        """,
        """
        def forward(self, req, num_frames=81):
            given = req.sampling_params.num_frames
            frames = given if given and given > 1 else num_frames
        """,
        """
        def forward(self, req):
            frames = req.sampling_params.num_frames or 1
        """,
    )
    INVALID = (
        """
        def forward(self, req, num_frames=81):
            frames = req.sampling_params.num_frames or num_frames
        """,
        """
        def forward(self, req, num_frames=121):
            frames = req.sampling_params.num_frames if req.sampling_params.num_frames else num_frames
        """,
        """
        def forward(self, req):
            sampling = req.sampling_params
            frames = sampling.num_frames if sampling.num_frames is not None else 49
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            for node in sampling_reads(file, "num_frames"):
                function = file.enclosing_function(node)
                if function is None or mentions_attribute(function, "resolve_video_num_frames"):
                    continue
                if (fallback := _fallback(file, node)) is not None and constant(fallback) != 1:
                    default = ast.unparse(fallback)
                    yield self.at(file, node, f"an omitted num_frames is 1, so the default {default} never applies")


def _fallback(file: SourceFile, read: ast.Attribute) -> ast.expr | None:
    """What stands in for a ``num_frames`` that is not set: the right of an ``or``, or the else of a conditional."""
    parent = file.parent(read)
    if isinstance(parent, ast.BoolOp) and isinstance(parent.op, ast.Or) and read in parent.values[:-1]:
        return parent.values[-1]
    if isinstance(parent, ast.IfExp) and parent.body is read:
        test = parent.test
        if ast.dump(test) == ast.dump(read):
            return parent.orelse
        if isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.IsNot):
            return parent.orelse if ast.dump(test.left) == ast.dump(read) else None
    return None
