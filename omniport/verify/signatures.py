"""What a parameter of a transformer's ``forward`` is, by its name: expressions over sizes and config keys, as data.

Alternatives are tried in order; one is left out whose config keys are absent or None.  The words are those of
:class:`omniport.verify.vocabulary.Vocabulary`.  A class whose parameters mean something else says so in
:mod:`omniport.verify.classes`.
"""

from __future__ import annotations

PARAMETERS: dict[str, tuple[str, ...]] = {
    "hidden_states": ("latents()",),
    "encoder_hidden_states": (
        "normal(batch, text, first('caption_channels', 'text_embed_dim', 'joint_attention_dim', 'text_dim', "
        "'in_text_dim', 'context_in_dim', 'cap_feat_dim', 'dit_text_dim', 'cond_token_dim', 'llm_features_dim', "
        "'cross_attention_input_dim', 'cross_attention_dim', 'encoder_hidden_size', 'condition_dim'))",
    ),
    "encoder_hidden_states_2": ("normal(batch, text2, text_embed_2_dim)",),
    "encoder_hidden_states_image": ("normal(batch, text2, image_dim)",),
    "image_embeds": ("normal(batch, text2, first('image_embed_dim', 'image_proj_dim'))",),
    "pooled_projections": ("normal(batch, first('pooled_projection_dim', 'in_text_dim2', 'text_emb_dim'))",),
    "pooled_embeds": ("normal(batch, first('pooled_projection_dim', 'text_emb_dim'))",),
    "timestep": ("times(batch)",),
    "timesteps": ("times(batch)",),
    "timestep_r": ("times(batch) * 0.5 if use_meanflow else None",),
    "guidance": ("span(2.0, 3.5, batch) if guidance_embeds else None",),
    "img_ids": ("ids(axes(), rows, columns)",),
    "txt_ids": ("ids(axes(), last=text)",),
    "encoder_attention_mask": ("keep(batch, text)",),
    "encoder_hidden_states_mask": ("keep(batch, text)",),
    "encoder_mask": ("keep(batch, text)",),
    "encoder_attention_mask_2": ("keep(batch, text2) if text_embed_2_dim else None",),
    "original_size": ("tensor([[64.0, 48.0]]).repeat(batch, 1)",),
    "target_size": ("tensor([[56.0, 80.0]]).repeat(batch, 1)",),
    "crop_coords": ("tensor([[3.0, 5.0]]).repeat(batch, 1)",),
    "img_shapes": ("[[(1, rows, columns)]] * batch",),
    "num_frames": ("frames",),
    "height": ("rows",),
    "width": ("columns",),
}

LEFT_OUT = {  # parameter -> why a comparison does not need it
    "attention_kwargs": "LoRA scale and processor options, which a port drops",
    "joint_attention_kwargs": "LoRA scale and processor options, which a port drops",
    "cross_attention_kwargs": "LoRA scale and processor options, which a port drops",
    "controlnet_block_samples": "ControlNet residuals, which a port drops",
    "controlnet_single_block_samples": "ControlNet residuals, which a port drops",
    "controlnet_blocks_repeat": "ControlNet residuals, which a port drops",
    "block_controlnet_hidden_states": "ControlNet residuals, which a port drops",
    "skip_layers": "skip-layer guidance, optional",
    "return_dict": "always False",
}
