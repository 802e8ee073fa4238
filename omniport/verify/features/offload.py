"""``offload``: model-level offload swaps transformer and encoders, each is there when it computes, the result stays."""

from __future__ import annotations

from omniport.verify.cases import BASE
from omniport.verify.components.denoisers import DENOISERS
from omniport.verify.components.vaes import VAES
from omniport.verify.lab import Lab
from omniport.verify.port import Port
from omniport.verify.results import Check, Finding


def run(lab: Lab) -> Finding:
    """Run the pipeline with CPU offload and count the hooks that moved a component in."""
    alone = lab.pipeline_alone()["readings"][BASE]
    ran = lab.pipeline_with("offload", {"enable_cpu_offload": True, "pin_cpu_memory": False}, BASE)
    error = lab.compare("pipeline.offload.pt", lab.pipeline_file({}))[BASE]
    fired: dict[str, int] = ran["fired"]
    transformer = fired.get(lab.port.transformer_class, 0)
    encoders = {name: count for name, count in fired.items() if name != lab.port.transformer_class}
    if not fired and not (rest := swappable(lab.port)):
        return Finding(undeclared="vLLM-Omni swaps the denoiser with the encoders, and this pipeline has none")
    staying = lab.staying()
    left = {name: f"{name} is no encoder but {cls}" for name, cls in lab.beside().items()}
    left |= {name: f"{name} stays on the device: {why}" for name, why in staying.items()}
    if not fired and set(rest) <= left.keys():
        return Finding(undeclared="; ".join(left[name] for name in rest))
    swapped = transformer >= alone["forwards"] and bool(encoders)
    checks = (
        Check("pipeline, base", error <= lab.limit(), value=error, limit=lab.limit()),
        Check(
            "transformer and encoders are swapped", swapped, "" if swapped else f"hooks that fired: {fired or 'none'}"
        ),
        Check("what computes has its weights", not ran["away"], "; ".join(ran["away"][:4])),
    )
    shown = ", ".join(f"{name} {count}" for name, count in sorted(fired.items()))
    kept = tuple(f"{name} stays on the device: {why}" for name, why in staying.items())
    return Finding(checks, (f"hooks fired: {shown or 'none'}", f"against the same run without it {error:.1e}", *kept))


STAY = ("Scheduler", "Tokenizer", "TokenizerFast", "Processor", "ProcessorFast", "FeatureExtractor")
"""Ends of the names of classes that hold no parameters."""


def swappable(port: Port) -> list[str]:
    """Components of a pipeline besides its denoisers and autoencoders that hold parameters."""
    kept = DENOISERS.keys() | VAES.keys()
    classes = {
        n: str(e[1]) for n, e in port.model_index.items() if isinstance(e, list | tuple) and len(e) == 2 and e[1]
    }
    return [name for name, cls in classes.items() if cls not in kept and not cls.endswith(STAY)]
