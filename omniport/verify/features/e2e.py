"""``e2e``: the port's pipeline in vLLM-Omni's worker gives the reference pipeline's latents and image."""

from __future__ import annotations

from omniport.verify.lab import PIPELINE, Lab
from omniport.verify.results import Check, Finding

DISTINCT = 1e-3
"""A case whose reference result is closer than this to ``base`` shows nothing that ``base`` does not show."""

STEP = 1.0
"""Largest difference of a file's pixel, in steps of 1/255: rounding may fall on the other side."""


def run(lab: Lab) -> Finding:
    """Compare every case of :func:`omniport.verify.cases.cases_for` that the port allows."""
    distances = lab.reference()
    ran = lab.pipeline_alone()
    errors = lab.compare(lab.pipeline_file({}), "images.reference.pt")
    checks = []
    for name, error in errors.items():
        if name.endswith(": file"):
            continue
        main = name in ("base", "base: image", "negative prompt")
        checks.append(Check(name, error <= PIPELINE, value=error, limit=PIPELINE, main=main))
    pixels = lab.fork("pixels", _pixels(lab))[0]
    checks += [
        Check(f"{name} after post-processing", v <= STEP, "in steps of 1/255", v, STEP) for name, v in pixels.items()
    ]
    notes = [f"{name} not run: {why}" for name, why in ran["skipped"].items()]
    notes += [
        f"{n} equals base in the reference, shows nothing" for n, d in distances.items() if n != "base" and d < DISTINCT
    ]
    shown = ", ".join(f"{name} {error:.1e}" for name, error in errors.items() if not name.endswith(": file"))
    return Finding(
        tuple(checks),
        (shown, f"pixels of the final image differ by at most {max(pixels.values(), default=0):.0f}/255", *notes),
    )


def _pixels(lab: Lab):  # type: ignore[no-untyped-def]
    def task(rank: object) -> dict[str, float]:
        import torch

        got, expected = torch.load(lab.work / lab.pipeline_file({})), torch.load(lab.work / "images.reference.pt")
        files = [name for name in got if name.endswith(": file")]
        return {
            name: float((got[name][0] - expected[name][0]).abs().max())
            if got[name][0].shape == expected[name][0].shape
            else 255.0
            for name in files
        }

    return task
