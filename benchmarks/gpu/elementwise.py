"""Time the ways to write a modulated norm and a gated residual, at the sizes of Wan 2.2 A14B.

    python benchmarks/gpu/elementwise.py

Each way is timed in turns with CUDA events; ``error`` is its relative difference to the same in float32, rounded once.
What a rewrite writes (:mod:`omniport.rewrite.modulation`) is chosen by these figures, never at the cost of a rounding.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

ROUNDS, CALLS = 20, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=17160)
    parser.add_argument("--width", type=int, default=5120)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(7)

    def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(options.device, dtype)

    x, y = (drawn(1, options.tokens, options.width, dtype=torch.bfloat16) for _ in range(2))
    shift, scale, gate = (drawn(1, 1, options.width) for _ in range(3))
    weight, bias = drawn(options.width), drawn(options.width)

    def norm(value: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(value, value.shape[-1:], eps=1e-6)

    modulated: dict[str, Callable[[], torch.Tensor]] = {
        "diffusers": lambda: (norm(x.float()) * (1 + scale) + shift).type_as(x),
        "addcmul, cast": lambda: torch.addcmul(shift, norm(x.float()), 1 + scale).type_as(x),
        "addcmul, out": lambda: torch.addcmul(shift, norm(x.float()), 1 + scale, out=torch.empty_like(x)),
        "rounded norm, out": lambda: torch.addcmul(shift, norm(x), 1 + scale, out=torch.empty_like(x)),
    }
    gated: dict[str, Callable[[], torch.Tensor]] = {
        "diffusers": lambda: (x.float() + y * gate).type_as(x),
        "addcmul, out": lambda: torch.addcmul(x, y, gate, out=torch.empty_like(x)),
    }
    if options.device == "cuda":
        from vllm_omni.diffusion.layers.indexed_modulation import indexed_gate

        rows = torch.zeros(options.tokens, dtype=torch.int64, device=x.device)
        gated["indexed_gate"] = lambda: indexed_gate(x[0], gate[0], y[0], rows)[None]
    affine: dict[str, Callable[[], torch.Tensor]] = {
        "diffusers": lambda: F.layer_norm(x.float(), x.shape[-1:], weight, bias, 1e-6).type_as(x),
        "addcmul, out": lambda: torch.addcmul(bias, norm(x.float()), weight, out=torch.empty_like(x)),
    }
    with torch.inference_mode():
        for title, ways in (("modulated norm", modulated), ("gated residual", gated), ("norm with weights", affine)):
            report(title, ways, options.device)


def report(title: str, ways: dict[str, Callable[[], torch.Tensor]], device: str) -> None:
    """One line per way: median, ratio to the first, error."""
    expected = next(iter(ways.values()))().float()
    errors = {name: float((way().float() - expected).norm() / expected.norm()) for name, way in ways.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            times[name].append(milliseconds(way, device))
    base = statistics.median(next(iter(times.values())))
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{title:18} {name:18} {median:7.3f} ms  {median / base:5.2f}  error {errors[name]:.1e}", flush=True)


def milliseconds(way: Callable[[], torch.Tensor], device: str) -> float:
    """Of one call."""
    if device != "cuda":
        began = time.perf_counter()
        way()
        return (time.perf_counter() - began) * 1000
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    for _ in range(CALLS):
        way()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / CALLS


if __name__ == "__main__":
    main()
