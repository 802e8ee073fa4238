"""OP406: the scheduler's offset for strength is set back to zero."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import constant


class BeginIndexReset(Rule):
    """The scheduler's offset for ``strength`` is set back to zero.

    A function calls ``set_begin_index(0)`` after ``get_timesteps``, whose body in the port sets the index itself.

    Why: with ``strength`` below 1 the first timesteps are cut off and the scheduler is told where to begin; reset to
    zero it pairs the later timesteps with the first sigmas, and the image is far too noisy.  FLUX.2 Klein of
    vllm-omni 0.30.0 resets it; diffusers' inpainting pipeline has no such call.

    Fix: ``self.scheduler.set_begin_index(0)`` only where no strength was applied, or not at all.
    """

    code = "OP406"
    name = "begin-index-reset"
    VALID = (
        """
        def get_timesteps(self, steps, strength):
            self.scheduler.set_begin_index(self.t_start)
        def forward(self, req):
            timesteps = self.get_timesteps(28, req.sampling_params.strength)
            self.denoise(timesteps)
        """,
        """
        def forward(self, req):
            self.scheduler.set_begin_index(0)
            self.denoise(self.timesteps)
        """,
    )
    INVALID = (
        """
        def get_timesteps(self, steps, strength):
            self.scheduler.set_begin_index(self.t_start)
        def forward(self, req):
            timesteps = self.get_timesteps(28, req.sampling_params.strength)
            self.scheduler.set_begin_index(0)
            self.denoise(timesteps)
        """,
        """
        class Pipeline:
            def get_timesteps(self, steps, strength):
                t_start = int(steps * (1 - strength))
                if hasattr(self.scheduler, "set_begin_index"):
                    self.scheduler.set_begin_index(t_start * self.scheduler.order)
                return t_start
            def forward(self, req):
                if self.image is not None:
                    t_start = self.get_timesteps(28, 0.6)
                self.scheduler.set_begin_index(0)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("set_begin_index") or not file.mentions("get_timesteps"):
                continue
            definitions = [f for f in file.nodes(ast.FunctionDef) if f.name == "get_timesteps"]
            if not any(next(file.calls("set_begin_index", within=f), None) for f in definitions):
                continue
            for function in file.nodes(ast.FunctionDef):
                cut = next(file.calls("get_timesteps", within=function), None)
                for call in file.calls("set_begin_index", within=function) if cut is not None else ():
                    zero = bool(call.args) and constant(call.args[0]) == 0
                    if (
                        zero
                        and cut is not None
                        and call.lineno > cut.lineno
                        and file.enclosing_function(call) is function
                    ):
                        yield self.at(file, call, "get_timesteps has set the index for the strength, this resets it")
