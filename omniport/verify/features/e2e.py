"""``e2e``: the port's pipeline in vLLM-Omni's worker gives the reference pipeline's latents and image."""

from __future__ import annotations

from omniport.verify.cases import BASE
from omniport.verify.lab import PARITY, PIPELINE, Lab
from omniport.verify.results import Check, Finding

DISTINCT = 1e-3
"""A case whose reference result is closer than this to ``base`` shows nothing that ``base`` does not show."""

STEP = 1.0
"""Largest difference of a file's pixel, in steps of 1/255: rounding may fall on the other side."""


def run(lab: Lab) -> Finding:
    """Compare every call of :func:`omniport.verify.calls.calls_for` that reference and port allow."""
    distances = lab.reference()
    ran = lab.pipeline_alone()
    errors = lab.compare(lab.pipeline_file({}), "images.reference.pt")
    checks = []
    for name, error in errors.items():
        if name.endswith(": file"):
            continue
        main = name.startswith(BASE)
        checks.append(Check(name, error <= lab.limit(), value=error, limit=lab.limit(), main=main))
    pixels = lab.fork("pixels", _pixels(lab))[0]
    checks += [
        Check(f"{name} after post-processing", v <= STEP, "in steps of 1/255", v, STEP) for name, v in pixels.items()
    ]
    left_out = {**lab.reference_skipped(), **ran["skipped"]}
    notes = [f"{name} not run: {why}" for name, why in left_out.items()]
    notes += [
        f"{n} equals base in the reference, shows nothing" for n, d in distances.items() if n != "base" and d < DISTINCT
    ]
    if reason := lab.no_latents():
        notes.append(f"what is decoded is compared, as the reference gives no latents: {reason}")
    if lab.limit() > PIPELINE:
        notes.append(
            f"the limit is {lab.limit():.1e}: what the reference's own run makes of a forward off by {PARITY:.0e}"
        )
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
            name: max(
                float(((one - two) * 255).round().abs().max()) if one.shape == two.shape else 255.0
                for one, two in zip(got[name], expected[name], strict=True)
            )
            for name in files
        }

    return task
