"""The post-process function: the reference's processor, rebuilt in the engine process from ``vae/config.json``."""

from __future__ import annotations

import libcst as cst

from omniport.analyse.pipeline_output import Output, Processed
from omniport.plan.model import PipelinePlan
from omniport.rewrite.pipeline.processor import construction
from omniport.source.tree import SourceModule, SourceTree


def post_process(
    plan: PipelinePlan,
    init: cst.FunctionDef,
    found: Processed,
    output: Output,
    source: SourceTree,
    module: SourceModule,
) -> str:
    """Source of ``get_<name>_post_process_func``; ``init`` is the reference's constructor, folded.

    Raises:
        UnsupportedError: the processor is built from more than the VAE's config and constants.
    """
    lines = construction(found.processor, init, source, module)
    given = "".join(f", {a}" for a in found.arguments)
    config = ""
    if any("vae_config[" in line for line in lines):
        config = '    vae_config = get_hf_file_to_dict("vae/config.json", od_config.model, od_config.revision) or {}\n'
    body = "".join(f"    {line}\n" for line in lines)
    video = output.kind == "video"
    several = len(output.values) > 1
    name = "output" if several else "video" if video else "images"
    work = f"{found.processor}.{found.method}({'video' if several else name}{given})"
    text = (
        f"def {plan.post_process}(od_config: OmniDiffusionConfig):\n"
        '    """Build the function that turns decoded tensors into what the request asks for."""\n'
        f"{config}{body}\n"
        "    def post_process_func(\n"
        f"        {name}: {'tuple[torch.Tensor, ...]' if several else 'torch.Tensor'},\n"
        "        sampling_params: OmniDiffusionSamplingParams | None = None,\n"
        "    ):\n"
    )
    default = next((a.default for a in plan.arguments if a.name == "output_type"), None)
    engine = default in (None, "'pil'")
    other = "od_config.output_type" if engine else (default or "").replace("'", '"')
    text += f'        output_type = getattr(sampling_params, "output_type", None) or {other}\n'
    if several:
        kinds = [kind for kind, _ in output.values]
        text += f"        {', '.join(kinds)} = output\n"
        text += f'        if output_type != "latent":\n            video = {work}\n'
        text += f"        return {{{', '.join(f'{chr(34)}{k}{chr(34)}: {k}' for k in kinds)}}}\n\n"
    elif video:
        text += '        if output_type == "latent":\n            return video\n'
        text += f'        return {{"payload": {{"video": {work}}}, "metadata": {{}}}}\n\n'
    else:
        text += f"        return {work}\n\n"
    return text + "    return post_process_func\n"
