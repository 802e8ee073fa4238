"""Names of ports."""

import pytest

from omniport.emit import check_name, default_name
from omniport.errors import OmniportError


@pytest.mark.parametrize(
    ("pipeline", "name"),
    [
        ("FluxPipeline", "flux"),
        ("StableDiffusion3Pipeline", "stable_diffusion_3"),
        ("StableDiffusionXLPipeline", "stable_diffusion_xl"),
        ("QwenImageEditPlusPipeline", "qwen_image_edit_plus"),
        ("CogVideoXPipeline", "cog_video_x"),
        ("LTXPipeline", "ltx"),
        ("LTX2Pipeline", "ltx2"),
        ("Flux2KleinPipeline", "flux_2_klein"),
        ("HunyuanVideo15Pipeline", "hunyuan_video_15"),
        ("I2VGenXLPipeline", "i2v_gen_xl"),
        ("Kandinsky5T2VPipeline", "kandinsky_5_t2v"),
        ("Cosmos2_5_PredictBasePipeline", "cosmos_2_5_predict_base"),
        ("Toy", "toy"),
    ],
)
def test_default(pipeline: str, name: str):
    assert default_name(pipeline) == name


@pytest.mark.parametrize("pipeline", ["Pipeline", "3DPipeline", "ÄPipeline", "ClassPipeline", "JournalPipeline"])
def test_no_usable_default(pipeline: str):
    with pytest.raises(OmniportError, match="--name"):
        default_name(pipeline)


@pytest.mark.parametrize(
    "name", ["", "Flux", "a-b", "a.b", "../a", "a/b", "1a", "_a", "class", "match", "a\n", "a" * 65, "é", "interface"]
)
def test_bad_names(name: str):
    with pytest.raises(OmniportError, match="cannot name a port"):
        check_name(name)
    assert check_name("flux_dev2") == "flux_dev2"
