"""What a component is for, by where its class comes from and, only if that says nothing, by its name."""

from __future__ import annotations

import re

from omniport.plan.model import ComponentRole
from omniport.source.tree import SourceModule

# Folders of diffusers, most specific first: its own layout tells what a class is for.
_FOLDERS: tuple[tuple[str, ComponentRole, str], ...] = (
    ("models.transformers.", "dit", "a transformer of {package}.models.transformers"),
    ("models.unets.", "dit", "a U-Net of {package}.models.unets"),
    ("models.autoencoders.", "vae", "an autoencoder of {package}.models.autoencoders"),
    ("models.vq_model", "vae", "the VQ autoencoder of {package}.models"),
    ("models.controlnets.", "other", "a ControlNet of {package}.models.controlnets"),
    ("models.adapter", "other", "an adapter of {package}.models"),
    ("schedulers.", "scheduler", "a scheduler of {package}.schedulers"),
    ("image_processor", "processor", "an image processor of {package}"),
    ("video_processor", "processor", "a video processor of {package}"),
)

# Class-name endings; transformers names its classes by what they do, and so do pipeline packages.
_CLASSES: tuple[tuple[str, ComponentRole], ...] = (
    (r"Tokenizer(Fast)?\Z", "tokenizer"),
    (r"(Processor(Fast)?|FeatureExtractor)\Z", "processor"),
    (r"Scheduler\Z", "scheduler"),
    (r"(Autoencoder|VAE|VQModel|VAEModel)", "vae"),
    (r"(Transformer[23]D\w*|UNet\w*|Unet\w*|DiT\w*)\Z", "dit"),
    (r"(Encoder|EncoderModel|TextModel|VisionModel|TextModelWithProjection|VisionModelWithProjection)\Z", "encoder"),
)

# Component names as diffusers pipelines use them; the last resort, for custom code.
_NAMES: tuple[tuple[str, ComponentRole], ...] = (
    (r"(transformer|unet|dit|denoiser|prior)(_|\d|\Z)", "dit"),
    (r"(vae|vqvae|vqgan|autoencoder|video_vae|audio_vae)(_|\d|\Z)", "vae"),
    (r"(\w+_)?scheduler\Z", "scheduler"),
    (r"tokenizer(_\d)?\Z", "tokenizer"),
    (r"(\w+_)?(processor|feature_extractor)\Z", "processor"),
    (r"(\w+_)?encoder(_\d)?\Z|mllm\w*\Z", "encoder"),
)


def role_of(name: str, library: str, class_name: str, module: SourceModule | None) -> tuple[ComponentRole, str]:
    """Role and the rule that gave it.

    ``module`` is the source module of a class of the reference package, None for a class from elsewhere.
    """
    if module is not None:
        package, _, rest = module.name.partition(".")
        for folder, role, reason in _FOLDERS:
            if rest.startswith(folder):
                return role, reason.format(package=package)
    for pattern, role in _CLASSES:
        if re.search(pattern, class_name):
            return role, f"{class_name} is named as {_article(role)}"
    if library == "transformers":
        return "encoder", f"{class_name} is a model of transformers"
    for pattern, role in _NAMES:
        if re.match(pattern, name):
            return role, f"the component is named as {_article(role)}"
    return "other", f"no rule knows {class_name}"


def _article(role: str) -> str:
    return {"dit": "a denoiser", "vae": "an autoencoder", "encoder": "an encoder"}.get(role, f"a {role}")
