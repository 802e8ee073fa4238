"""Third-party repositories of Path B, fetched from the package index at the time of the run: roles, port, names.

    python -m omniport.corpus.custom --tree .corpus/custom --markdown docs/custom-repositories.md

Scaffolding reads the packages as text.  The last stage alone runs them, in a process of its own: it builds the original
class and the port's on the meta device at toy width and compares the names and shapes of their tensors.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from omniport.errors import OmniportError

TOLERANCE = 1e-5  # relative


@dataclass(frozen=True)
class Sample:
    """One distribution, what a reader finds in it, and toy sizes of its denoiser.

    ``expected`` maps a role to a name that must be its best candidate (or among the best, joined by ``|``).
    """

    requirement: str
    root: str  # folder of the sources in the archive
    backbone: str | None  # given with --backbone where the reader rightly asks
    expected: dict[str, str]
    arguments: str = ""  # Python expression of the constructor's keyword arguments; empty: not built
    why_not_built: str = ""
    extras: tuple[str, ...] = ()  # distributions that the original imports
    stubs: tuple[str, ...] = ()  # packages that it imports and, at this width, does not use
    inputs: str = ""  # Python expression of the forward's keyword arguments; empty: the outputs are not compared
    why_not_run: str = ""
    shims: tuple[tuple[str, str], ...] = ()  # modules in place of packages that cannot be had here, and their text
    kernels: tuple[
        tuple[str, str], ...
    ] = ()  # functions of the original's file that need CUDA, and plain ones for them
    asks: bool = field(default=False)  # whether the reader must ask


#: timm needs torchvision, which has no build beside the CPU wheel of vLLM; its Mlp has these names
MLP = """
from torch import nn
class Mlp(nn.Module):
    def __init__(self, in_features, hidden_features, act_layer=nn.GELU, drop=0):
        super().__init__()
        self.fc1 = nn.Linear(in_features, hidden_features)
        self.act = act_layer()
        self.fc2 = nn.Linear(hidden_features, in_features)
    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))
"""

#: plain attention over [B, L, N, C] in the dtype that is given, for a function that asserts CUDA and half floats
PLAIN = """
def flash_attention(q, k, v, k_lens=None, window_size=(-1, -1)):
    assert window_size == (-1, -1)
    real = None if k_lens is None else (torch.arange(k.size(1)) < k_lens[:, None])[:, None, None]
    q, k, v = (x.transpose(1, 2) for x in (q.to(v.dtype), k.to(v.dtype), v))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=real).transpose(1, 2)
"""

SAMPLES = (
    Sample(
        "OmniGen==1.0.3",
        "OmniGen-1.0.3",
        None,
        {"backbone": "OmniGen", "vae": "AutoencoderKL", "denoise loop": "OmniGenScheduler.__call__"},
        "dict(transformer_config=Phi3Config(hidden_size=64, intermediate_size=96, num_hidden_layers=2, "
        "num_attention_heads=4, vocab_size=50, pad_token_id=0), pos_embed_max_size=8)",
        stubs=("timm", "peft"),
        inputs="dict(x=randn(1, 4, 8, 8), timestep=randn(1), input_ids=torch.arange(4)[None], input_img_latents=None, "
        "input_image_sizes={}, attention_mask=torch.ones(1, 21, 21), position_ids=torch.arange(21)[None])",
    ),
    Sample(
        "wan22==2.2.11",
        "wan22-2.2.11",
        None,
        {"backbone": "WanModel", "block": "WanAttentionBlock|WanAnimateAttentionBlock", "vae": "WanVAE_",
         "text encoder": "T5EncoderModel|T5Encoder|T5Decoder|XLMRobertaWithHead",
         "denoise loop": "WanT2V.generate|WanAnimate.generate"},
        "dict(dim=48, ffn_dim=96, freq_dim=32, text_dim=24, num_heads=4, num_layers=2)",
        inputs="dict(x=[randn(16, 2, 4, 6), randn(16, 1, 4, 6)], t=torch.rand(2, 12) * 900, "
        "context=[randn(5, 24), randn(7, 24)], seq_len=12)",
        kernels=(("flash_attention", PLAIN),),
    ),
    Sample(
        "ltx-video==0.1.2",
        "ltx_video-0.1.2",
        None,
        {"backbone": "Transformer3DModel", "block": "BasicTransformerBlock", "attention": "Attention",
         "vae": "CausalVideoAutoencoder", "denoise loop": "LTXVideoPipeline.__call__"},
        "dict(num_attention_heads=4, attention_head_dim=16, in_channels=8, out_channels=8, num_layers=2, "
        "cross_attention_dim=64, caption_channels=32, positional_embedding_type='rope', "
        "adaptive_norm='single_scale_shift', "
        "qk_norm='rms_norm', standardization_norm='rms_norm', positional_embedding_theta=10000.0, "
        "positional_embedding_max_pos=[20, 2048, 2048], timestep_scale_multiplier=1000, attention_bias=True)",
        inputs="dict(hidden_states=randn(1, 6, 8), indices_grid=torch.rand(1, 3, 6) * 10, "
        "encoder_hidden_states=randn(1, 5, 32), timestep=torch.tensor([[0.5]]), return_dict=False)",
    ),
    Sample(
        "f5-tts==1.1.22",
        "f5_tts-1.1.22",
        "f5_tts/model/backbones/dit.py:DiT",
        {"backbone": "DiT", "block": "DiTBlock", "attention": "Attention", "denoise loop": "CFM.sample"},
        "dict(dim=64, depth=2, heads=4, dim_head=16, ff_mult=2, mel_dim=10, text_num_embeds=20, text_dim=24, "
        "conv_layers=1, attn_mask_enabled=True)",
        extras=("x-transformers==2.11.23", "einx==0.3.0", "frozendict", "loguru"),
        stubs=("librosa", "torchaudio", "pypinyin", "rjieba", "jieba"),
        inputs="dict(x=randn(2, 7, 10), cond=randn(2, 7, 10), text=torch.arange(10).view(2, 5), time=torch.rand(2), "
        "mask=torch.arange(7) < torch.tensor([[7], [5]]))",
        asks=True,
    ),
    Sample(
        "tangoflux==0.1.0",
        "tangoflux-0.1.0",
        None,
        {"backbone": "TangoFlux", "vae": "AutoencoderOobleck", "denoise loop": "TangoFlux.inference_flow"},
        why_not_built="its constructor loads a published text encoder",
    ),
    Sample(
        "cosmos-predict2==1.0.9",
        "cosmos_predict2-1.0.9",
        "cosmos_predict2/models/video2world_dit.py:MinimalV1LVGDiT",
        {"backbone": "MinimalV1LVGDiT|MiniTrainDIT", "block": "Block|MultiViewBlock", "vae": "VAE_",
         "text encoder": "CosmosT5TextEncoder", "denoise loop": "Text2ImagePipeline.__call__"},
        why_not_built="its attention is transformer_engine's, a package for CUDA only",
    ),
    Sample(
        "dit-ml==0.2.10",
        "dit_ml-0.2.10",
        "dit_ml/dit.py:DiT",
        {"backbone": "DiT", "block": "DiTBlock", "attention": "Attention"},
        "dict(num_patches=6, hidden_size=48, depth=2, num_heads=4)",
        inputs="dict(x=randn(2, 6, 48), t=randn(2, 48))",
        shims=(("timm", ""), ("timm.models", ""), ("timm.models.vision_transformer", MLP)),
        asks=True,
    ),
)  # fmt: skip


@dataclass
class Row:
    """What the run found for one sample; an empty reason is a pass."""

    name: str
    roles: str = ""
    scaffold: str = ""
    native: bool = False
    todos: int = 0
    names: str = ""
    tensors: int = 0
    attentions: int = 0
    error: float | None = None
    numbers: str = ""  # why the outputs were not compared


def fetch(sample: Sample, folder: Path) -> Path:
    """The unpacked sources; from the package index, without building or installing anything.

    Raises:
        OmniportError: the index does not have it.
    """
    root = folder / sample.root
    if root.is_dir():
        return root
    archives = folder / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(archives)]
    name = sample.requirement.split("==")[0].replace("-", "_").lower()
    found = [p for p in archives.iterdir() if p.name.lower().startswith(name)]
    if not found:
        for extra in (["--only-binary=:all:"], ["--no-binary=:all:", "--no-build-isolation"]):
            if subprocess.run([*pip, *extra, sample.requirement], capture_output=True, check=False).returncode == 0:
                break
        found = [p for p in archives.iterdir() if p.name.lower().startswith(name)]
    if not found:
        raise OmniportError(f"{sample.requirement}: the package index does not have it")
    if found[0].suffix == ".whl":
        with zipfile.ZipFile(found[0]) as wheel:
            wheel.extractall(root)
    else:
        with tarfile.open(found[0]) as archive:
            archive.extractall(folder, filter="data")
    return root


def run(sample: Sample, sources: Path, tree: Path) -> Row:
    """Roles, port and names of one sample."""
    from omniport.custom import read_repository
    from omniport.custom.into import scaffold_custom

    row = Row(sample.requirement)
    try:
        root = fetch(sample, sources)
    except OmniportError as error:
        row.roles = str(error)
        return row
    asked = read_repository(root)
    plan = read_repository(root, sample.backbone)
    wrong = []
    for role, expected in sample.expected.items():
        best = next((c for c in plan.candidates if c.role == role), None)
        name = plan.backbone.name if role == "backbone" and plan.backbone else best.name if best else "nothing"
        if name not in expected.split("|"):
            wrong.append(f"{role}: {name}, not {expected}")
    if sample.asks and asked.backbone is not None:
        wrong.append("the reader did not ask which denoiser is meant")
    row.roles = "; ".join(wrong)
    name = f"custom_{sample.requirement.split('==')[0].replace('-', '_').lower()}"
    try:
        result = scaffold_custom("org/" + name, root, into=tree, name=name, backbone=sample.backbone)
    except OmniportError as error:
        row.scaffold = str(error)
        return row
    row.native = not any(t.subject == "NATIVE" for t in result.plan.todos)
    row.todos = len(result.plan.todos)
    transformer = result.plan.transformer
    row.attentions = len(transformer.attentions) if transformer is not None else 0
    if not sample.arguments:
        row.names = sample.why_not_built
        return row
    row.names, row.tensors, row.error = compare(sample, root, sources, tree, name)
    if row.error is None and row.tensors and row.names.startswith("the "):  # equal tensors, but a call failed
        row.numbers, row.names = row.names, ""
    elif row.error is None:
        row.numbers = sample.why_not_run or "the tensors differ"
    elif row.error > TOLERANCE:
        row.numbers = f"relative error {row.error:.1e}"
    if sample.kernels:
        kernels = ", ".join(name for name, _ in sample.kernels)
        row.numbers = "; ".join(filter(None, (row.numbers, f"plain attention stands in for the original's {kernels}")))
    if sample.shims:
        stand_in = f"a module of our own stands in for {sample.shims[-1][0]} on both sides"
        row.numbers = "; ".join(filter(None, (row.numbers, stand_in)))
    return row


def compare(sample: Sample, root: Path, sources: Path, tree: Path, name: str) -> tuple[str, int, float | None]:
    """Original beside port at toy width.

    Returns the reason why their tensors differ (empty if they do not), how many there are, and the relative error of
    the output in fp32 with all parameters redrawn (None where it was not run).
    """
    from omniport.custom import read_repository

    backbone = read_repository(root, sample.backbone).backbone
    assert backbone is not None
    extras = sources / "extras"
    for extra in sample.extras:
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(extras), extra]
        subprocess.run(pip, capture_output=True, check=False)
    given = {
        "root": str(root),
        "file": backbone.file,
        "class": backbone.name,
        "arguments": sample.arguments,
        "extras": str(extras),
        "stubs": list(sample.stubs),
        "shims": dict(sample.shims),
        "inputs": sample.inputs,
        "kernels": dict(sample.kernels),
        "tree": str(tree),
        "name": name,
    }
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer.json")  # vLLM writes to the standard output as well
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "omniport.corpus.custom_meta", json.dumps(given), str(answer)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode or not answer.is_file():
            return (done.stderr.strip().splitlines() or ["it ended without a word"])[-1], 0, None
        found = json.loads(answer.read_text("utf-8"))
    return found["reason"] or found["failed"], found["tensors"], found["error"]


def markdown(rows: list[Row]) -> str:
    """The table of docs/custom-repositories.md."""
    lines = [
        "<!-- Generated by `python -m omniport.corpus.custom`; do not edit by hand. -->",
        "# Custom repositories (Path B)",
        "",
        f"Run on {datetime.now(timezone.utc):%Y-%m-%d}. Third-party packages, fetched from the package index at the",
        "time of the run and read as text. *roles*: each role's best candidate is what a reader named. *port*:",
        "written, every import found; native where the passes of Path A rewrote it, else its classes word for word.",
        "*tensors*: names and shapes of the port's state dict beside the original's, both at toy width.",
        "*output*: relative error of the whole denoiser in fp32 on the CPU, all parameters redrawn at random, loaded",
        f"through the port's `load_weights`; at most {TOLERANCE:.0e} passes.  *attentions*: classes whose call is",
        "vLLM-Omni's attention layer in the port; 0 where the original's own call was kept (a TODO).",
        "",
        "| package | roles | port | TODOs | tensors | attentions | output |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        port = row.scaffold and "refused" or ("native" if row.native else "word for word")
        tensors = f"{row.tensors} equal" if row.tensors and not row.names else ("-" if not row.names else "see below")
        output = "-" if row.error is None else f"{row.error:.1e}"
        roles = "right" if not row.roles else "see below"
        lines.append(f"| {row.name} | {roles} | {port} | {row.todos} | {tensors} | {row.attentions} | {output} |")
    reasons = [
        f"- **{row.name}**, {stage}: {reason}"
        for row in rows
        for stage, reason in (
            ("roles", row.roles),
            ("port", row.scaffold),
            ("tensors", row.names),
            ("output", row.numbers),
        )
        if reason
    ]
    return "\n".join([*lines, *(["", "## Reasons", "", *reasons] if reasons else [])]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tree", type=Path, required=True, help="folder of the run: sources, and a copy of vLLM-Omni")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--only", help="the one whose requirement begins so")
    options = parser.parse_args()
    import importlib.util

    spec = importlib.util.find_spec("vllm_omni")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("vllm_omni is not installed")
    tree = options.tree / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(
        spec.submodule_search_locations[0], tree / "vllm_omni", ignore=shutil.ignore_patterns("__pycache__")
    )
    chosen = [s for s in SAMPLES if s.requirement.lower().startswith((options.only or "").lower())]
    rows = [run(sample, options.tree / "sources", tree) for sample in chosen]
    text = markdown(rows)
    print(text)
    if options.markdown and not options.only:
        options.markdown.write_text(text, "utf-8")
    return int(sum(not row.roles for row in rows) < len(rows) - 1)


if __name__ == "__main__":
    raise SystemExit(main())
