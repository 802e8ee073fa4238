"""Third-party packages of Path B, what a reader finds in them, and how their denoisers are built and called here."""

from __future__ import annotations

from dataclasses import dataclass, field


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
    extras: tuple[str, ...] = ()  # distributions that both sides import
    pinned: tuple[str, ...] = ()  # releases that the original runs with, where it does not with those here
    stubs: tuple[str, ...] = ()  # packages that are imported and, at this width, not used
    inputs: str = ""  # Python expression of the forward's keyword arguments; empty: the outputs are not compared
    why_not_run: str = ""
    watched: tuple[str, ...] = ()  # submodules whose outputs are compared too: of a forward that returns a loss
    shims: tuple[tuple[str, str], ...] = ()  # modules in place of packages that cannot be had here, and their text
    #: functions of the original's file that need CUDA, and plain ones for them
    kernels: tuple[tuple[str, str], ...] = ()
    #: classes whose ``from_pretrained`` fetches weights, and toy ones for them on both sides
    published: tuple[tuple[str, str], ...] = ()
    note: str = ""  # what else a reader of the comparison must know
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

#: the published classes with sizes of our own; two prompts of three and two tokens
T5 = """
class T5EncoderModel:
    @staticmethod
    def from_pretrained(name):
        sizes = dict(d_model=24, d_ff=32, d_kv=8, num_heads=2, num_layers=1, vocab_size=30)
        return transformers.T5EncoderModel(transformers.T5Config(**sizes))
"""
TOKENIZER = """
class T5TokenizerFast:
    @classmethod
    def from_pretrained(cls, name):
        return cls()
    def __call__(self, prompt, **options):
        ids = torch.tensor([[3, 4, 1], [5, 1, 0]])
        return transformers.BatchEncoding({"input_ids": ids, "attention_mask": (ids != 0).long()})
"""

#: transformer_engine is for CUDA only; its norm, attention and rotation as its manual describes them, without the
#: ``_extra_state`` entries that hold no weights
TE = """
import torch
class RMSNorm(torch.nn.Module):
    def __init__(self, hidden_size, eps=1e-5):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(hidden_size))
        self.eps = eps
    def reset_parameters(self):
        torch.nn.init.ones_(self.weight)
    def forward(self, x):
        return torch.nn.functional.rms_norm(x, self.weight.shape, self.weight, self.eps)
"""
TE_ATTENTION = """
import torch
class DotProductAttention(torch.nn.Module):
    def __init__(self, heads, channels, num_gqa_groups, attention_dropout, qkv_format, attn_mask_type):
        super().__init__()
        assert (num_gqa_groups, attention_dropout, qkv_format, attn_mask_type) == (heads, 0, "bshd", "no_mask")
    def forward(self, q, k, v):
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
def apply_rotary_pos_emb(t, freqs, tensor_format, fused):
    assert tensor_format == "bshd"
    freqs = freqs.transpose(0, 1)  # [S, 1, 1, D] to [1, S, 1, D]
    first, second = t.chunk(2, dim=-1)
    return t * freqs.cos() + torch.cat((-second, first), dim=-1) * freqs.sin()
"""
TE_GRAPHS = """
class TransformerEngineBaseModule:
    pass
def get_all_rng_states():
    return {}
def graph_safe_rng_available():
    return False
"""
#: torchvision has no build beside the CPU wheel of vLLM; the nearest pixel
RESIZE = """
import torch
from enum import Enum
from types import SimpleNamespace
class InterpolationMode(Enum):
    NEAREST = "nearest"
def _resize(img, size, interpolation):
    return torch.nn.functional.interpolate(img, size, mode=interpolation.value)
functional = SimpleNamespace(resize=_resize)
"""

SAMPLES = (
    Sample(
        "OmniGen==1.0.3",
        "OmniGen-1.0.3",
        None,
        {"backbone": "OmniGen", "vae": "AutoencoderKL", "denoise loop": "OmniGenScheduler.__call__"},
        "dict(transformer_config=Phi3Config(hidden_size=64, intermediate_size=96, num_hidden_layers=2, "
        "num_attention_heads=4, vocab_size=50, pad_token_id=0), pos_embed_max_size=8)",
        pinned=("transformers==4.45.2", "tokenizers==0.20.3", "huggingface_hub==0.26.5", "diffusers==0.30.3"),
        stubs=("timm", "peft"),
        inputs="dict(x=randn(1, 4, 8, 8), timestep=randn(1), input_ids=torch.arange(6)[None], "
        "input_img_latents=[randn(1, 4, 4, 4)], input_image_sizes={0: [[1, 5]]}, "
        "attention_mask=torch.ones(1, 23, 23).tril(16), position_ids=torch.arange(23)[None])",
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
        "dict(config=dict(num_layers=2, num_single_layers=2, in_channels=8, num_attention_heads=2, "
        "joint_attention_dim=24, audio_seq_len=6))",
        stubs=("datasets",),
        inputs="dict(latents=randn(2, 6, 8), prompt=['', ''], duration=torch.tensor([10, 5]))",
        watched=("transformer",),
        published=(("T5EncoderModel", T5), ("T5TokenizerFast", TOKENIZER)),
    ),
    Sample(
        "cosmos-predict2==1.0.9",
        "cosmos_predict2-1.0.9",
        "cosmos_predict2/models/video2world_dit.py:MinimalV1LVGDiT",
        {"backbone": "MinimalV1LVGDiT|MiniTrainDIT", "block": "Block|MultiViewBlock", "vae": "VAE_",
         "text encoder": "CosmosT5TextEncoder", "denoise loop": "Text2ImagePipeline.__call__"},
        "dict(max_img_h=8, max_img_w=8, max_frames=4, in_channels=4, out_channels=4, patch_spatial=2, "
        "patch_temporal=1, model_channels=48, num_blocks=2, num_heads=2, crossattn_emb_channels=24, "
        "use_crossattn_projection=True, crossattn_proj_in_channels=20, pos_emb_cls='rope3d', "
        "use_adaln_lora=True, adaln_lora_dim=8)",
        extras=("iopath==0.1.10", "portalocker", "termcolor"),
        stubs=("megatron", "pynvml", "hydra", "wandb", "fvcore", "boto3"),
        inputs="dict(x_B_C_T_H_W=randn(1, 4, 2, 4, 6), timesteps_B_T=torch.rand(1, 2) * 900, "
        "crossattn_emb=randn(1, 5, 20), condition_video_input_mask_B_C_T_H_W=torch.ones(1, 1, 2, 4, 6), "
        "fps=torch.tensor([16.0]), padding_mask=torch.zeros(1, 1, 8, 12))",
        shims=(
            ("transformer_engine", ""),
            ("transformer_engine.pytorch", TE),
            ("transformer_engine.pytorch.attention", TE_ATTENTION),
            ("transformer_engine.pytorch.distributed", TE_GRAPHS),
            ("transformer_engine.pytorch.module", ""),
            ("transformer_engine.pytorch.module.base", TE_GRAPHS),
            ("torchvision", ""),
            ("torchvision.transforms", RESIZE),
        ),
        note="transformer_engine's `_extra_state` entries, which hold no weights, are not among the tensors",
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
