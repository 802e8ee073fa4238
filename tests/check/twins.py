"""The broken twin of every rule: an edit to the generated port of FLUX that the rule must catch."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from omniport.check.tree import FEATURES_PAGE

Edit = Callable[[str], str]


@dataclass(frozen=True)
class Twin:
    """``edit`` breaks the file whose name holds ``part``; ``beside`` are files of a tree, sound without the edit.

    A twin whose mistake is outside the port has ``broken_beside`` in their place, and no edit.
    """

    part: str
    edit: Edit
    beside: dict[str, str] = field(default_factory=dict)
    broken_beside: dict[str, str] = field(default_factory=dict)


def without_keyword(keyword: str, *calls: str) -> Edit:
    """Leave a keyword out of every call of these functions."""

    class Drop(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.Call:
            self.generic_visit(node)
            if ast.unparse(node.func).rpartition(".")[2] in calls:
                node.keywords = [k for k in node.keywords if k.arg != keyword]
            return node

    return lambda text: ast.unparse(Drop().visit(ast.parse(text)))


def with_keyword(call: str, keyword: str) -> Edit:
    """Give every call of a function one more keyword, ``name=value``."""
    name, _, value = keyword.partition("=")

    class Give(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.Call:
            self.generic_visit(node)
            if ast.unparse(node.func).rpartition(".")[2] == call:
                node.keywords.append(ast.keyword(name, ast.parse(value, mode="eval").body))
            return node

    return lambda text: ast.unparse(ast.fix_missing_locations(Give().visit(ast.parse(text))))


def replaced(*pairs: str) -> Edit:
    """Replace patterns, each followed by what stands in its place, in every line."""

    def edit(text: str) -> str:
        for pattern, by in zip(pairs[::2], pairs[1::2], strict=True):
            text, count = re.subn(pattern, by, text, flags=re.M)
            assert count, f"{pattern!r} is not in the generated port any more"
        return text

    return edit


def with_loader(body: str) -> Edit:
    """Replace the body of ``load_weights``."""

    def edit(text: str) -> str:
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == "load_weights":
                node.body = ast.parse(body).body
        return ast.unparse(tree)

    return edit


def both(first: Edit, second: Edit) -> Edit:
    return lambda text: second(first(text))


def in_init(statement: str) -> Edit:
    """A statement before the pipeline builds its transformer."""
    return replaced(r"^        self\.transformer = ", f"        {statement}\n        self.transformer = ")


LOOP = "p = dict(self.named_parameters())\nseen = set()\nfor n, w in weights:\n    "
REGISTRY = "vllm_omni/diffusion/registry.py"
METADATA = "vllm_omni/diffusion/model_metadata.py"
ROW = '_DIFFUSION_MODELS = {"FluxPipeline": ("flux", "pipeline_flux", "FluxPipeline")}\n'
OTHERS_VIDEO = '_DIFFUSION_MODEL_METADATA = {"WanPipeline": DiffusionModelMetadata(final_output_type="video")}\n'
TABLE = "| Model | SP (Ulysses & Ring) | Tensor-Parallel | Step Execution |\n|---|---|---|---|\n"
LINEARS = (
    "ColumnParallelLinear",
    "MergedColumnParallelLinear",
    "QKVParallelLinear",
    "ReplicatedLinear",
    "RowParallelLinear",
)
T, P = "_transformer.py", "pipeline_"

TWINS: dict[str, Twin] = {
    "OP001": Twin(T, replaced(r"^import torch$", "import torch  # omniport: ignore[OP701]")),
    "OP002": Twin(T, replaced(r"^import torch$", "import torch  # omniport: ignore")),
    "OP101": Twin(T, with_loader(f"{LOOP}if n not in p:\n        continue\n    p[n].weight_loader(p[n], w)")),
    "OP102": Twin(
        T, with_loader(f"{LOOP}n, shard = place(n)\n    p[n].weight_loader(p[n], w, shard)\n    seen.add(n)")
    ),
    "OP103": Twin(
        T,
        with_loader(
            f"{LOOP}for f, p, s in [('.to_qkv', '.to_q', 'q'), ('.to_qkv', '.to_k', 'k')]:\n"
            "        if p in n:\n            break"
        ),
    ),
    "OP104": Twin(
        T, replaced(r"^    _repeated_blocks", '    _keep_in_fp32_modules = ["norm_out"]\n    _repeated_blocks')
    ),
    "OP105": Twin(T, replaced(r'^        \("\.to_qkv", "\.to_v", "v"\),\n', "")),
    "OP106": Twin(T, replaced(r'"\.to_qkv", "\.to_q", "q"', '".to_qkv", "_q", "q"')),
    "OP107": Twin(P, in_init("self.vae.load_state_dict({}, strict=False)")),
    "OP108": Twin(T, with_loader("return {name for name, _ in self.named_parameters()}")),
    "OP109": Twin(P, with_loader("AutoWeightsLoader(self).load_weights(weights)")),
    "OP110": Twin(T, replaced(r'"\.to_qkv", ', '".qkv", ')),
    "OP151": Twin(
        P,
        both(with_loader("return set()"), replaced(r"self\.weights_sources = \[[^\]]*\]", "self.weights_sources = []")),
    ),
    "OP152": Twin(P, with_keyword("ComponentSource", "allow_patterns_overrides=['*.pth']")),
    "OP153": Twin(P, without_keyword("prefix", "ComponentSource")),
    "OP154": Twin(P, replaced(r'prefix="transformer\."', 'prefix="denoiser."')),
    "OP155": Twin(P, in_init("self.state = torch.load(model, weights_only=False)")),
    "OP156": Twin(P, with_keyword("from_pretrained", "trust_remote_code=True")),
    "OP157": Twin(P, with_keyword("ComponentSource", "allow_patterns_overrides=['ema.safetensors', 'ae.safetensors']")),
    "OP158": Twin(
        T,
        replaced(
            r"^from torch import nn$",
            "from torch import nn\ntry:\n    import sox\nexcept ImportError as e:\n    raise ImportError('sox') from e",
        ),
    ),
    "OP159": Twin(P, in_init('self.settings = open("config.json").read()')),
    "OP160": Twin(P, in_init('self.fusion = od_config.model_config["fusion"]')),
    "OP161": Twin(P, in_init('self.index = {"_class_name": ["pipeline", "FluxPipeline"]}')),
    "OP162": Twin(P, in_init('self.config = {"architectures": ["FluxPipeline", "FluxTransformer2DModel"]}')),
    "OP163": Twin(P, replaced(r"^    _dit_modules", "    support_video_output = True\n    _dit_modules")),
    "OP164": Twin(T, replaced(r"^from torch import nn$", "import easydict\nfrom torch import nn")),
    "OP201": Twin(T, replaced(r"num_heads=self\.to_qkv\.num_heads", "num_heads=query_dim // dim_head")),
    "OP202": Twin(
        T,
        replaced(
            r"^(        )(hidden_states = self\.attn\(\s*query, key, value, sequence_metadata\([^)]*\)\s*\))$",
            r"\1\2\n\1tensor_model_parallel_all_reduce(hidden_states)",
        ),
    ),
    "OP203": Twin(T, replaced(r"self\.act_mlp = .*$", "self.norm_q = nn.RMSNorm(self.mlp_hidden_dim)")),
    "OP204": Twin(
        T,
        replaced(
            r"(QKV|Column|Row)ParallelLinear",
            "ReplicatedLinear",
            "get_tensor_model_parallel_world_size",
            "ranks",
            "tp_size|tensor_parallel_size",
            "ranks",
        ),
    ),
    "OP205": Twin(T, without_keyword("return_bias", "ColumnParallelLinear")),
    "OP206": Twin(
        T,
        replaced(
            "QKVParallelLinear",
            "ColumnParallelLinear",
            r"num_attention_heads % tp_size",
            "False",
            r"^        self\.in_channels = ",
            "        self.heads = num_attention_heads // tp_size\n        self.in_channels = ",
        ),
    ),
    "OP301": Twin(T, without_keyword("split_output", "SequenceParallelInput")),
    "OP302": Twin(T, without_keyword("split_output", "SequenceParallelInput")),
    "OP303": Twin(T, replaced(r'"proj_out": Seq', '"final_layer": Seq')),
    "OP304": Twin(T, replaced(r'^        "proj_out": SequenceParallelOutput.*\n', "")),
    "OP305": Twin(
        T,
        replaced(r'"sequence_split": \{', '"": {"image_ids": SequenceParallelInput(split_dim=0)}, "sequence_split": {'),
    ),
    "OP306": Twin(T, replaced(r'"sequence_split": \{', '"transformer_blocks.0": {')),
    "OP307": Twin(T, replaced("AttentionMetadata", "LayerMetadata")),
    "OP308": Twin(
        T,
        replaced(
            r"(class FluxSingleAttention(?:.|\n)*?image_rotary_emb: torch\.Tensor)(\) -> torch\.Tensor:\n)",
            r"\1, attention_mask=None\2",
            r"^        (hidden_states = self\.attn\(query, key, value, )(sequence_metadata.*)\)$",
            r"        if get_sequence_parallel_world_size() > 1:\n            \1\2)\n"
            r"        else:\n            \1AttentionMetadata(attn_mask=attention_mask))",
        ),
    ),
    "OP309": Twin(T, without_keyword("auto_pad", "SequenceParallelInput")),
    "OP310": Twin(
        T,
        lambda text: (
            f"{text}\n\ndef split(x):\n    ranks = get_sequence_parallel_world_size()\n"
            "    return torch.cat([x, x[:, : -x.shape[1] % ranks]], dim=1)\n"
        ),
    ),
    "OP311": Twin(
        T,
        lambda text: (
            f"{text}\n\nclass FluxOther(FluxTransformer2DModel):\n"
            "    _sp_plan = {k: v for k, v in FluxTransformer2DModel._sp_plan.items() if k != 'blocks.0'}\n"
        ),
    ),
    "OP401": Twin(P, without_keyword("cfg_normalize", "predict_noise_maybe_with_cfg")),
    "OP402": Twin(P, replaced(r"(\w+)\.guidance_scale if \1\.guidance_scale_provided else", r"\1.guidance_scale or")),
    "OP403": Twin(
        P, replaced(r"^(        )height = params\.height", r"\1n = params.num_frames or 81\n\1height = params.height")
    ),
    "OP404": Twin(P, replaced("predict_noise_maybe_with_cfg", "predict")),
    "OP405": Twin(
        P,
        replaced(
            '"negative_prompt"', '"unwanted"', r"def forward\(self, req:", "def forward(self, negative_prompt, req:"
        ),
    ),
    "OP406": Twin(
        P,
        replaced(
            r"^(        )self\.scheduler\.set_begin_index\(0\)",
            r"\1timesteps = self.get_timesteps(28, 0.5)\n\1self.scheduler.set_begin_index(0)",
            r"^    def diffuse\(",
            "    def get_timesteps(self, n, s):\n        self.scheduler.set_begin_index(n)\n\n    def diffuse(",
        ),
    ),
    "OP408": Twin(P, without_keyword("num_images_per_prompt", "encode_prompt")),
    "OP409": Twin(
        P,
        replaced(
            r"^        latents = self\._pack_latents\(.*\n",
            "",
            r"calculate_shift\(\s*image_seq_len",
            "calculate_shift(latents.shape[1]",
        ),
    ),
    "OP410": Twin(
        P,
        replaced(
            "true_cfg_scale > 1 and",
            "guidance_scale > 1 and",
            r"torch\.full\(\[1\], guidance_scale",
            "torch.full([1], 3.5",
        ),
    ),
    "OP411": Twin(P, replaced("true_cfg_scale=true_cfg_scale,", "true_cfg_scale=guidance_scale,")),
    "OP501": Twin(T, replaced(r"^    _repeated_blocks = ", "    _blocks = ")),
    "OP502": Twin(T, replaced(r'_repeated_blocks = \["Flux', '_repeated_blocks = ["Other')),
    "OP503": Twin(T, replaced("_layerwise_offload_blocks_attrs", "_block_lists")),
    "OP504": Twin(T, replaced("_hsdp_shard_conditions", "_conditions")),
    "OP505": Twin(T, replaced(r'_blocks_attrs = \["transformer_blocks"', '_blocks_attrs = ["blocks"')),
    "OP506": Twin(T, without_keyword("has_separate_cfg", "CacheDiTAdapterConfig")),
    "OP507": Twin(T, replaced(r"self\.silu\(emb\)", "nn.SiLU()(emb)")),
    "OP601": Twin(T, replaced(r"stacked_params_mapping", "fused_parts")),
    "OP602": Twin(T, without_keyword("quant_config", *LINEARS)),
    "OP603": Twin(T, without_keyword("quant_config", "FluxAttention", "FeedForward")),
    "OP604": Twin(T, replaced(r'prefix=f"\{prefix\}\.add_kv_proj"', 'prefix=f"{prefix}.to_qkv"')),
    "OP605": Twin(T, replaced(r'f"transformer_blocks\.\{i\}"', '"transformer_blocks"')),
    "OP607": Twin(T, without_keyword("prefix", "Attention")),
    "OP701": Twin(P, replaced(r"get_local_device\(\)$", "torch.device('cuda')")),
    "OP702": Twin(P, replaced(r"torch_dtype=od_config\.dtype", "torch_dtype=torch.bfloat16")),
    "OP703": Twin(P, in_init("torch.manual_seed(0)")),
    "OP705": Twin(T, replaced(r"^(        )ids = torch\.cat", r"\1n = txt_ids.max().item()\n\1ids = torch.cat")),
    "OP706": Twin(P, replaced(r"\.to\(latents\.dtype\)", ".to(self.od_config.dtype)")),
    "OP707": Twin(T, replaced(r"self\.norm\(x\) \* \(1 \+ scale\)", "self.norm(x.float()) * (1 + self.weight)")),
    "OP801": Twin(T, without_keyword("causal", "Attention")),
    "OP802": Twin(
        T,
        replaced(r"^(        query = query\.unflatten\(.*\))$", r"\1.transpose(1, 2)"),
    ),
    "OP803": Twin(
        T,
        replaced(
            r"image_rotary_emb: torch\.Tensor(,?)(\s*)\) -> torch\.Tensor:",
            r"image_rotary_emb: torch.Tensor, attention_mask=None\2) -> torch.Tensor:",
            r"image_rotary_emb=image_rotary_emb(,?\s*)\)",
            r"image_rotary_emb=image_rotary_emb, attention_mask=temb\1)",
        ),
    ),
    "OP804": Twin(
        T,
        replaced(
            r"(class FluxSingleAttention(?:.|\n)*?image_rotary_emb: torch\.Tensor)(\) -> torch\.Tensor:\n)",
            r"\1, text_seq_len=None\2        hidden_states = hidden_states[:, :text_seq_len]\n",
            r"(class FluxSingleTransformerBlock(?:.|\n)*?temb: torch\.Tensor,)",
            r"\1 text_seq_len: int,",
            r"^        text_seq_len = encoder_hidden_states\.shape\[1\]\n",
            "",
        ),
    ),
    "OP805": Twin(
        T,
        replaced(
            r"self\.attn\(\s*query, key, value, sequence_metadata\([^)]*\)\s*\)",
            "F.scaled_dot_product_attention(query, key, value)",
        ),
    ),
    "OP807": Twin(T, replaced(r"^import torch$", "import flash_attn\nimport torch")),
    "OP808": Twin(
        T,
        replaced(
            r"self\.attn\(\s*query, key, value, sequence_metadata\([^)]*\)\s*\)",
            "self.attn(query, key, value, AttentionMetadata(attn_mask=image_rotary_emb[:, None, None, :]))",
        ),
    ),
    "OP901": Twin(P, replaced(r"\*\*get_transformer_config_kwargs\([^)]*\),", "")),
    "OP903": Twin(P, replaced(r"self\.transformer\.in_channels", "self.transformer.config.in_channels")),
    "OP921": Twin(P, replaced(r"^class FluxPipeline\(", "class FluxImagePipeline("), beside={REGISTRY: ROW}),
    "OP923": Twin(
        P,
        replaced("VaeImageProcessor", "VideoProcessor"),
        beside={REGISTRY: ROW, METADATA: OTHERS_VIDEO},
    ),
    "OP941": Twin(
        T,
        lambda text: text,
        beside={REGISTRY: ROW, FEATURES_PAGE: f"{TABLE}| **Flux** | \u2705 | \u2705 | \u274c |\n"},
        broken_beside={REGISTRY: ROW, FEATURES_PAGE: f"{TABLE}| **Flux** | \u2705 | \u2705 | \u2705 |\n"},
    ),
    "OP961": Twin(
        T, replaced(r"^(        )self\.in_channels = ", r"\1self.gradient_checkpointing = False\n\1self.in_channels = ")
    ),
    "OP962": Twin(P, replaced(r"^import os$", "import os\nimport re")),
    "OP963": Twin(T, replaced(r"^        query = query\.unflatten", "        query = key.unflatten")),
    "OP964": Twin(P, replaced(r"transformer\.guidance_embeds:", "transformer.guidance_embeds is not None:")),
    "OP965": Twin(
        T, replaced(r"self\.norm\(hidden_states, emb=temb\)", "self.norm(hidden_states, temb, text_seq_len)")
    ),
    "OP971": Twin(P, replaced(r"^import os$", "import os  # OMNIPORT-TODO(DECODE)")),
}
