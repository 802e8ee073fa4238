"""OP706: the timestep is rounded to the type of the model's weights."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import bound_names, dotted, keyword, last_name


class TimestepInModelDtype(Rule):
    """The timestep is rounded to the type of the model's weights.

    In a loop over ``timesteps`` the time, or an expansion of it, is cast to ``od_config.dtype``.

    Why: bfloat16 keeps 8 bits: of the times between 512 and 1000 every fourth is left, so that the sinusoids are those
    of another step.  SD3 and SDXL of vllm-omni 0.30.0 do so where diffusers gives the time as the scheduler has it.

    Fix: leave the type as it is, ``t.expand(latents.shape[0])``; the embedding casts what comes after the sinusoids.
    """

    code = "OP706"
    name = "timestep-in-model-dtype"
    VALID = (
        """
        def diffuse(self, latents, timesteps):
            for i, t in enumerate(timesteps):
                timestep = t.expand(latents.shape[0])
        """,
        """
        def diffuse(self, latents, timesteps):
            for t in timesteps:
                timestep = t.expand(latents.shape[0]).to(device=self.device, dtype=latents.dtype) / 1000
        """,
    )
    INVALID = (
        """
        def diffuse(self, latents, timesteps):
            for i, t in enumerate(timesteps):
                timestep = t.expand(latents.shape[0]).to(device=self.device, dtype=self.od_config.dtype)
        """,
        """
        def diffuse(self, latents, timesteps):
            for t in timesteps:
                noise = self.transformer(latents, timestep=t.to(self.od_config.dtype))
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("od_config.dtype") or not file.mentions("timesteps"):
                continue
            for loop in file.nodes(ast.For):
                if not any(last_name(n) == "timesteps" for n in file.walk(loop.iter)):
                    continue
                times = bound_names(loop.target)
                for call in file.calls("to", within=loop):
                    kind = keyword(call, "dtype") or (call.args[0] if call.args else None)
                    if dotted(kind).endswith("od_config.dtype") and _is_time(call, times):
                        yield self.at(file, call, "a time of up to 1000 keeps 8 bits in bfloat16")


def _is_time(call: ast.Call, times: set[str]) -> bool:
    """Whether what is cast is a variable of the loop, or an expansion of one."""
    value = call.func.value if isinstance(call.func, ast.Attribute) else None
    if (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Attribute)
        and value.func.attr in ("expand", "repeat")
    ):
        value = value.func.value
    return isinstance(value, ast.Name) and value.id in times
