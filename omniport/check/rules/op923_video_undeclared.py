"""OP923: a video pipeline is registered as one that makes images."""

from __future__ import annotations

import re
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port

_VIDEO = re.compile(r"\b(VideoProcessor|export_to_video|resolve_video_num_frames)\b")


class VideoUndeclared(Rule):
    """A video pipeline is registered as one that makes images.

    A module that the registry points to uses ``VideoProcessor``, ``export_to_video`` or ``resolve_video_num_frames``,
    and the tree's ``model_metadata.py`` has no ``final_output_type="video"`` for its key.

    Why: from vllm-omni 0.28 on the server answers with what the metadata says, an image unless it says video: the
    request ends in an error after minutes of work, or in one frame.  All video pipelines of vllm-omni 0.30.0 have the
    row.

    Fix: ``"XPipeline": DiffusionModelMetadata(final_output_type="video")`` in ``model_metadata.py``.
    """

    code = "OP923"
    name = "video-undeclared"
    # the tests write this tree beside the examples
    VALID = (
        """
        class ExamplePipeline:
            pass
        """,
        """
        from diffusers.image_processor import VaeImageProcessor
        class ExamplePipeline:
            processor = VaeImageProcessor()
        """,
    )
    INVALID = (
        """
        from diffusers.video_processor import VideoProcessor
        class ExamplePipeline:
            processor = VideoProcessor()
        """,
        """
        class ExamplePipeline:
            def forward(self, req):
                return resolve_video_num_frames(req.sampling_params.num_frames, default_num_frames=81)
        """,
    )
    TREE = {
        "vllm_omni/diffusion/registry.py": (
            '_DIFFUSION_MODELS = {"ExamplePipeline": ("example", "example", "ExamplePipeline")}\n'
        ),
        "vllm_omni/diffusion/model_metadata.py": (
            '_DIFFUSION_MODEL_METADATA = {"OtherPipeline": DiffusionModelMetadata(final_output_type="video")}\n'
        ),
    }

    def check(self, port: Port) -> Iterator[Finding]:
        tree = port.tree
        if tree is None or tree.registry is None or tree.video_keys is None:
            return
        for key in tree.keys_of(port.name):
            row = tree.registry.models[key]
            file = next((f for f in port.files if f.path.stem == row.module.rpartition(".")[2]), None)
            sign = _VIDEO.search(file.text) if file is not None else None
            if file is not None and sign is not None and key not in tree.video_keys and row.cls in file.classes:
                cls = file.classes[row.cls]
                yield self.at(file, cls, f"{sign[0]} is used, and {key} has no final_output_type='video' in the tree")
