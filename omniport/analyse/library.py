"""What is known of functions and modules outside the normal form, as data with reasons.  Nothing here names a model.

Names are the last part of the imported name.  A function that is in no table is followed no further: it takes whole
tensors only, and forbids sequence parallelism if tokens go in.
"""

from __future__ import annotations

import re

#: Each output element depends on the input element (or the broadcast ones) at its own place.
ELEMENTWISE = frozenset(
    {
        "abs",
        "add",
        "addcmul",
        "cast",
        "clamp",
        "clip",
        "clone",
        "contiguous",
        "cos",
        "detach",
        "div",
        "double",
        "elu",
        "exp",
        "float",
        "gelu",
        "half",
        "hardswish",
        "leaky_relu",
        "log",
        "masked_fill",
        "mul",
        "neg",
        "nan_to_num",
        "pow",
        "relu",
        "rsqrt",
        "sigmoid",
        "silu",
        "sin",
        "softplus",
        "sqrt",
        "square",
        "sub",
        "tanh",
        "to",
        "type",
        "type_as",
        "where",
        "zeros_like",
        "empty_like",
        "ones_like",
        "mish",
        "bfloat16",
        "cpu",
        "requires_grad_",
    }
)

#: Modules that act on each element.
ELEMENTWISE_MODULES = frozenset(
    {
        "Dropout",
        "Identity",
        "SiLU",
        "GELU",
        "ReLU",
        "Sigmoid",
        "Tanh",
        "SELU",
        "ELU",
        "LeakyReLU",
        "Mish",
        "Softplus",
    }
)

#: Conditions that are false wherever vLLM-Omni runs a model.
NEVER = frozenset({"torch.onnx.is_in_onnx_export", "torch.jit.is_tracing", "torch.jit.is_scripting"})

#: Functions that make one of those modules from its name.
ACTIVATION_FACTORIES = frozenset({"get_activation"})

#: Modules that normalise over the last dimension.
NORMS = frozenset(
    {
        "LayerNorm",
        "RMSNorm",
        "FP32LayerNorm",
        "MochiRMSNorm",
    }
)

#: Those of them whose statistics ranks can share -> what they sum: squares, or values, too.
WIDE_NORMS = {"RMSNorm": "rms", "LayerNorm": "layer"}

#: Operations along the dimension they are given.
REDUCTIONS = frozenset({"mean", "sum", "amax", "amin", "prod", "softmax", "log_softmax", "var", "std", "cumsum"})

#: Those that keep the dimension.
ALONG = frozenset({"softmax", "log_softmax", "cumsum"})

#: Library modules that turn a batch of scalars or pooled vectors into one vector per sample:
#: name -> the argument that gives the width of the result.
EMBEDDERS: dict[str, str] = {
    "CombinedTimestepGuidanceTextProjEmbeddings": "embedding_dim",
    "CombinedTimestepTextProjEmbeddings": "embedding_dim",
    "TimestepEmbedding": "time_embed_dim",
    "Timesteps": "num_channels",
    "PixArtAlphaTextProjection": "hidden_size",
}

#: Those of them that do so row by row: whatever stands in front of the last dimension stays.
ROW_EMBEDDERS = frozenset({"TimestepEmbedding", "PixArtAlphaTextProjection"})

#: Positions of those arguments when they are not named.
EMBEDDER_POSITIONS: dict[str, int] = {"TimestepEmbedding": 1, "PixArtAlphaTextProjection": 1}

#: Attention functions (diffusers.models.attention_dispatch, torch.nn.functional) -> whether heads come before tokens.
ATTENTION: dict[str, bool] = {"dispatch_attention_fn": False, "scaled_dot_product_attention": True}

#: Their first parameters, which both share.
ATTENTION_PARAMETERS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")

#: Further arguments of theirs that change nothing: bookkeeping of diffusers' own parallelism and of its dispatcher.
ATTENTION_WITHOUT_EFFECT = ("dropout_p", "backend", "parallel_config")

#: Packed SwiGLU experts, weights [experts, in, out], called with rows sorted by expert and the number of rows of each:
#: the arguments of their constructor that give sizes.  The others choose between kernels of the same products.
EXPERTS: dict[str, tuple[str, ...]] = {
    "diffusers.models.transformers.transformer_nucleusmoe_image.SwiGLUExperts": (
        "hidden_size", "moe_intermediate_dim", "num_experts",
    ),
}  # fmt: skip

#: Rotary functions: rows of the table belong to tokens.  name -> (x, table, parameter that names the token axis, its
#: default).
ROTARY: dict[str, tuple[int, int, str, int]] = {
    "apply_rotary_emb": (0, 1, "sequence_dim", 2),  # diffusers.models.embeddings: [B, H, S, D] unless told otherwise
}

#: Rotations of [batch, tokens, features of all heads], and the dimension of their tables (x first, tables second) that
#: goes with the heads: diffusers' LTX rotates before it splits heads; tables of "split" are [batch, heads, tokens, r].
ROTARY_OF_ALL_HEADS: dict[str, int] = {
    "apply_rotary_emb": -1,
    "apply_interleaved_rotary_emb": -1,
    "apply_split_rotary_emb": -3,
}

#: Row-wise tables of positions, two results: name -> (argument of the width, argument of the positions).
ROTARY_TABLES: dict[str, tuple[int, int]] = {
    "get_1d_rotary_pos_embed": (0, 1),  # each row is computed from its own position
}

#: Shapes of the forward parameters that diffusers' transformers share, by name.  "batch" is the batch, an upper-case
#: word is a token axis of its own, a lower-case word is a width.
INPUTS: dict[str, tuple[str, ...]] = {
    "hidden_states": ("batch", "TOKENS", "channels"),
    "encoder_hidden_states": ("batch", "TOKENS", "channels"),
    "img_ids": ("TOKENS", "axes"),
    "txt_ids": ("TOKENS", "axes"),
    "pooled_projections": ("batch", "channels"),
    "timestep": ("batch",),
    "class_labels": ("batch",),
    "guidance": ("batch",),
}

#: What a value comes from that may hold several rows for each sample, as a time for each token does.
ROWS = "rows of a sample"

#: Parameters of the root that hold one number or vector per sample: what is computed from them alone is small.
#: "self" stands for what constructors compute, "parameter" for learned tensors.
VECTORS = frozenset(
    {
        "self",
        "parameter",
        "timestep",
        "timesteps",
        "timestep_r",
        "r_timestep",
        "t",
        "timestep_cond",
        "guidance",
        "pooled_projections",
        "pooled_embeds",
        "class_labels",
        "ofs",
        "fps",
        "original_size",
        "target_size",
        "crop_coords",
    }
)

#: Ranks of what the modules within diffusers' transformers take, by the name of the parameter: rows of tokens are
#: [batch, tokens, channels] wherever they are called so.
BLOCK_RANKS: dict[str, int] = {"hidden_states": 3, "encoder_hidden_states": 3, "norm_hidden_states": 3}

#: PyTorch's own names of operations that have NumPy's, too.
OTHER_NAMES: dict[str, str] = {"swapaxes": "transpose", "swapdims": "transpose", "concatenate": "cat"}

#: Layers that take tensors of one rank only.
RANKS: dict[str, int] = {"Conv1d": 3, "Conv2d": 4, "Conv3d": 5}

#: Operations and layers whose result has the rank of what they take.
SAME_RANK = frozenset(
    {
        "repeat_interleave", "index_select", "gather", "scatter", "roll", "flip", "pad", "masked_select_", "sort",
        "interpolate", "GroupNorm", "BatchNorm2d", "AvgPool2d", "layer_norm", "rms_norm", "normalize", "clamp_min",
        "clamp_max", "tril", "triu", "nan_to_num", "ne", "eq", "logical_and", "logical_not", "logical_or", "bool",
        "long", "int", "round", "new_zeros", "expand_as", "view_as", "reshape_as", "cumsum", "detach_", "LpNorm",
        "empty_like", "rand_like", "full_like", "randn_like", "softmax", "view_as_complex_", "pixel_shuffle",
    }
)  # fmt: skip

#: Those of them that act on each element.
POINTWISE = frozenset(
    {
        "clamp_min", "clamp_max", "nan_to_num", "ne", "eq", "logical_and", "logical_not", "logical_or", "bool", "long",
        "int", "round",
    }
)  # fmt: skip

#: Library objects that only hold their arguments: the results of a forward.
OUTPUTS = re.compile(r"\w+Output\Z")

#: Spelling of a fused projection, from the name of its query part: pairs of (query name, fused name).
FUSED_NAMES: tuple[tuple[str, str], ...] = (
    ("add_q_proj", "add_kv_proj"),  # vLLM-Omni's name in its hand-written ports
    ("to_q", "to_qkv"),
    ("q_proj", "qkv_proj"),
    ("wq", "wqkv"),
    ("query", "qkv"),
    ("q", "qkv"),
)
