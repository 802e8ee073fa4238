"""Words by which code tells pictures, videos and sound apart: names of functions, parameters, libraries, classes."""

from __future__ import annotations

import re

#: titles of functions and files that say what comes out
TITLES = {
    "image": re.compile(r"(?i:(to|2)_?(image|img|picture)|image_?(pipeline|generat))|T2I"),
    "video": re.compile(r"(?i:(to|2)_?(video|vid\b|world)|video_?(pipeline|generat))|[TIS]2V"),
    "audio": re.compile(
        r"(?i:(to|2)_?(audio|speech|music|sound|wav)|\btts\b|audio_?(pipeline|generat)|generate_audio)|TTS"
    ),
}
#: parts of names of models
WORDS = {
    "image": re.compile(r"(?i)(\b|_)image|(?-i:Image)"),
    "video": re.compile(r"(?i)(\b|_)(video|vid|fps|frames?)(\b|_|\d)|(?-i:Video|3D)"),
    "audio": re.compile(r"(?i)(\b|_)(audio|music|speech|sound|tts|wav)(\b|_|\d)|(?-i:Audio|Music|Speech|Sound|TTS)"),
}
#: what a function that generates returns
RETURNS = {
    "image": re.compile(r"(\w+_)?(images?|imgs?|pictures?)(_\w+)?\Z"),
    "video": re.compile(r"(\w+_)?(videos?|frames)(_\w+)?\Z"),
    "audio": re.compile(r"(\w+_)?(audios?|wav(eform|e)?s?|speech|music)(_\w+)?\Z"),
}
FRAMES = re.compile(
    r"((num|n|video|max)_)*(frames|frame_num|video_length|video_frames)\Z|fps\Z|frame_rate\Z|target_fps\Z"
)
SECONDS = re.compile(r"(audio_)?(duration|length_s|seconds(_total)?|audio_length\w*|audio_end_in_s|sample_rate)\Z")
VOCODER = re.compile(r"(?i)vocoder|(\b|_)(vocos|bigvgan|hifi_?gan|griffin_?lim)(\b|_)|SpeechT5HifiGan")
#: medium -> points and dotted names of what writes it
WRITERS = {
    "image": (
        3,
        re.compile(r"(\A|\.)(save_image|imwrite|numpy_to_pil|to_pil_image|ToPILImage)\Z|\bImage\.fromarray\Z"),
    ),
    "video": (
        3,
        re.compile(
            r"(\A|\.)(export_to_video|save_video|write_video|cache_video|save_videos_grid|mimwrite|mimsave|get_writer|"
            r"VideoWriter|tensor2vid|postprocess_video|ImageSequenceClip)\Z"
        ),
    ),
    "audio": (
        4,
        re.compile(
            r"(\A|\.)(torchaudio\.save|soundfile\.write|wavfile\.write|write_wave?|save_wav|save_audio|export_wav)\Z"
        ),
    ),
}
IMAGE_READERS = re.compile(r"\bImage\.open\Z|(\A|\.)(load_image|read_image|cv2\.imread|imageio\.imread)\Z")
AUDIO_READERS = re.compile(
    r"(\A|\.)(torchaudio\.load|librosa\.load|soundfile\.read|wavfile\.read|load_audio|load_wav|AudioSegment\.from_file)\Z"
)
VIDEO_READERS = re.compile(r"(\A|\.)(VideoReader|read_video|load_video|get_reader|VideoCapture)\Z")

_OF = r"(ref|reference|input|init|cond|condition|conditioning|source|src|control|first|last|start|end|raw|pil|prompt)"
_FORM = r"(_(path|paths|file|files|list|tensor|pil|latents))?\Z"
INPUTS = {
    "image": re.compile(rf"({_OF}_)*(image|img|picture|photo)s?{_FORM}"),
    "audio": re.compile(rf"({_OF}_)*(audio|wav|waveform|speech|voice)s?{_FORM}"),
    "video": re.compile(rf"(({_OF}|pose|face)_)*(video|frames)s?{_FORM}"),
}
PICTURES = re.compile(r"(images|imgs|pictures|photos)(_|\Z)|(paths|files|list)\Z")
#: what stands beside an input, and no start-up request brings: the words of a voice, a mask
COMPANIONS = re.compile(
    r"(ref|reference|prompt)_text\Z|lyrics?\Z|transcript\w*\Z|mask(_image)?\Z|(src_)?(pose|face)_\w+\Z"
)

#: Autoencoders of diffusers by what its own pipelines make with them (the Qwen one decodes single frames; Wan's and
#: Cosmos' decode frames, and a few pipelines ask for one alone)
STOCK = {
    "audio": re.compile(r"\AAutoencoderOobleck\Z|MusicDCAE|Audio"),
    "image": re.compile(
        r"\A(Asymmetric)?AutoencoderKL\Z|\AAutoencoder(KL)?(QwenImage|Flux2|HunyuanImage\w*|DC|Tiny|RAE)\Z|\AVQModel\Z|"
        r"\AConsistencyDecoderVAE\Z"
    ),
    "video": re.compile(
        r"\AAutoencoder\w*(Wan|Mochi|CogVideoX|HunyuanVideo\w*|LTX\w*|Allegro|Cosmos|Magvit|Temporal)\w*"
    ),
}
