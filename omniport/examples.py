"""What ``--help`` of a command ends in: command lines that work as they stand."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "scaffold": (
        "omniport scaffold black-forest-labs/FLUX.1-dev --plugin my-port",
        "omniport scaffold diffusers:PixArtSigmaPipeline --into ~/vllm-omni --dry-run --diff",
        "omniport scaffold diffusers:PixArtSigmaPipeline --into ~/vllm-omni",
    ),
    "plan": (
        "omniport plan black-forest-labs/FLUX.1-dev",
        "omniport plan diffusers:FluxPipeline --into ~/vllm-omni --short",
        "omniport plan org/model --source ~/model-code",
    ),
    "check": (
        "omniport check my-port",
        "omniport check ~/vllm-omni --statistics",
        "omniport check my-port --select OP1,OP6 --output-format sarif",
    ),
    "explain": ("omniport explain", "omniport explain OP201"),
    "matrix": ("omniport matrix ~/vllm-omni",),
    "verify": (
        "omniport verify my-port --feature import,load,parity",
        "omniport verify ~/vllm-omni --name pix_art_sigma --report port.html --report port.md",
    ),
    "update": (
        "omniport update my-port --source ~/diffusers --dry-run --diff",
        "omniport update my-port --source ~/diffusers",
    ),
    "remove": ("omniport remove ~/vllm-omni --name pix_art_sigma",),
    "doctor": ("omniport doctor --json",),
}


def epilog(command: str) -> str:
    """The examples of a command as click prints them: each on a line of its own, which ``\\b`` asks for."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in EXAMPLES[command])])
