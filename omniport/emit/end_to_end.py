"""End-to-end tests of a port, online and offline: one request for each feature that it declares."""

from __future__ import annotations

import re
from pathlib import Path

from omniport.emit.edits.base import Context
from omniport.emit.render import render
from omniport.records import dataclass

ONLINE, _OFFLINE = "tests/e2e/online_serving", "tests/e2e/offline_inference"


@dataclass(frozen=True)
class Case:
    """One server of the online test: its arguments, and the number of cards it takes."""

    id: str
    arguments: list[str]
    cards: int = 1


def _harness(root: Path) -> Path | None:
    """The module that holds the servers and clients of the end-to-end tests."""
    for name in ("tests/helpers/runtime.py", "tests/conftest.py"):
        path = root / name
        if path.is_file() and "class OmniServerParams" in path.read_text("utf-8", errors="replace"):
            return path
    return None


def no_end_to_end(context: Context) -> str:
    """Why no end-to-end tests can be written; empty if they can."""
    if not context.model_id:
        return "the id of a published checkpoint is not known"
    harness = _harness(context.root)
    if harness is None:
        return "the tree's test harness has another form (no OmniServerParams)"
    output = context.plan.pipeline.output
    if output == "unknown":
        return "it is not known what the pipeline gives"
    sent = {"image", "last_image"} if "image" in context.media else set()  # a last image may be left out
    if others := [key for key in context.media if key not in sent and context.task != "text-to-audio"]:
        return f"no helper of the tree sends {', '.join(others)}"
    text = harness.read_text("utf-8", errors="replace")
    needed = [f"def {_sender(output)}("]
    if output == "audio":
        needed.append("result.audios")
    elif context.media and output == "image":
        needed.append("def dummy_messages_from_mix_data(")
    elif context.media:
        needed.append("image_reference")
    missing = [word for word in needed if word not in text]
    if not missing and "image" in context.media and not (context.root / "tests/helpers/media.py").is_file():
        missing = ["tests/helpers/media.py"]
    return f"the tree's test client has no {missing[0].removeprefix('def ').rstrip('(')}" if missing else ""


def _sender(output: str) -> str:
    return "send_video_diffusion_request" if output == "video" else "send_diffusion_request"


def end_to_end(context: Context, spdx: str) -> dict[str, str]:
    """The two files; for audio the one of the server alone."""
    cases = _cases(context)
    output = context.plan.pipeline.output
    names = {argument.name for argument in context.plan.pipeline.arguments}
    values = {
        "spdx": spdx,
        "display": context.display,
        "task": context.task,
        "name": context.plan.name,
        "model_id": context.model_id,
        "helpers": (context.root / "tests/helpers/mark.py").is_file(),
        "level": "full_model" if "full_model" in marks(context.root, ()) else "advanced_model",
        "sender": _sender(output),
        "output": output,
        "image": "image" in context.media,
        "sampling": _sampling(output),
        "guidance": _guidance(names) if context.guided else {},
        "negative": context.guided and "negative_prompt" in names,
        "cases": cases,
        "parallel": any(case.cards > 1 for case in cases),
    }
    name = context.plan.name
    files = {f"{ONLINE}/test_{name}_expansion.py": render("tree/test_online.py.j2", **values)}
    if output != "audio":  # what a worker gives of sound differs between releases
        files[f"{_OFFLINE}/test_{name}_expansion.py"] = render("tree/test_offline.py.j2", **values)
    return files


def _sampling(output: str) -> dict[str, int]:
    """Sizes that every model takes, and few steps: 25 frames are kept by autoencoders that join 4, 6 or 8 of them."""
    sizes = {"image": {"height": 512, "width": 512}, "video": {"height": 480, "width": 640, "num_frames": 25}}
    return {**sizes.get(output, {}), "num_inference_steps": 2}


def _guidance(names: set[str]) -> dict[str, float]:
    """What switches guidance on: without it ranks that share its branches would have nothing to share."""
    scale = next((name for name in ("true_cfg_scale", "guidance_scale") if name in names), None)
    return {scale: 4.0} if scale else {}


def _cases(context: Context) -> list[Case]:
    """The model by itself, and one case for each feature that the port declares."""
    cases = [Case("single_card", [])]
    if context.supports("cache-dit"):
        cases.append(Case("cache_dit", ["--cache-backend", "cache_dit"]))
    if context.supports("layerwise offload"):
        cases.append(Case("layerwise_offload", ["--enable-layerwise-offload"]))
    if context.supports("tensor parallelism"):
        cases.append(Case("tp_2", ["--tensor-parallel-size", "2"], 2))
    if context.plan.transformer.sp:
        cases.append(Case("ulysses_2", ["--usp", "2"], 2))
    if context.guided:
        cases.append(Case("cfg_parallel_2", ["--cfg-parallel-size", "2"], 2))
    if context.supports("hsdp"):
        cases.append(Case("hsdp_2", ["--use-hsdp", "--hsdp-shard-size", "2"], 2))
    return cases


def marks(root: Path, known: tuple[str, ...]) -> set[str]:
    """The pytest marks that the tree declares; ``known`` where it declares none."""
    path = root / "pyproject.toml"
    text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
    found = set(re.findall(r'^\s*"(\w+)(?:\([^"]*\))?: ', text.partition("markers = [")[2], re.M))
    return found or {*known, "diffusion"}
