"""Tokenizers of every family that pipelines use, trained on the words of the pipeline itself.  Runs in a forked child.

A pipeline cuts its prompt template off after a fixed number of tokens.  Byte by byte the cut would fall inside the
template, so each word of the pipeline's own strings becomes one token, which is what a published vocabulary does with
such plain words.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from omniport.errors import OmniportError
from omniport.verify.tokenizers import CORPUS, clip_tokenizer, t5_tokenizer

LENGTH = 4096
"""Most tokens of a prompt; longer than any pipeline pads to."""

#: As the published tokenizers write a conversation; pipelines call ``apply_chat_template``.
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

QWEN_SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>", "<think>", "</think>",
)  # fmt: skip


def words_of(file: Path) -> list[str]:
    """The words of the string constants of a module, those of the test prompts first."""
    strings = [n.value for n in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(n, ast.Constant)]
    lines = [*CORPUS, *(s for s in strings if isinstance(s, str) and " " in s)]
    return list(dict.fromkeys(w for line in lines for w in re.findall(r"[A-Za-z]+|[^\sA-Za-z]+", line)))


def _byte_bpe(words: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a byte-level BPE that knows the words, alone and after a space."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    known = sorted(set(words))
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    trainer = trainers.BpeTrainer(
        vocab_size=20_000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    trained.train_from_iterator([text for w in known for text in (w, f"a {w}")], trainer)
    return _vocabulary(trained)


def _vocabulary(trained: Any) -> tuple[dict[str, int], list[tuple[str, str]]]:
    import json

    model = json.loads(trained.to_str())["model"]
    return model["vocab"], [(a, b) for a, b in model["merges"]]


def _space_bpe(words: Iterable[str], first: tuple[str, ...]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a BPE over characters with a mark for spaces, as sentencepiece models have it."""
    vocab: dict[str, int] = {}
    merges: list[tuple[str, str]] = []
    known = ["\u2581" + w for w in sorted(set(words)) if w.isascii()]
    tokens = [*first, *(f"<0x{i:02X}>" for i in range(256)), "\u2581", *sorted({c for w in known for c in w[1:]})]
    for word in known:
        done = word[0]
        for letter in word[1:]:
            if (done, letter) not in merges:
                merges.append((done, letter))
                tokens.append(done + letter)
            done += letter
    for token in tokens:
        vocab.setdefault(token, len(vocab))
    return vocab, merges


def qwen(words: Iterable[str]) -> Any:
    """Byte-level BPE with the special tokens of Qwen and its conversation template."""
    from transformers import Qwen2Tokenizer

    vocab, merges = _byte_bpe(words)
    made = Qwen2Tokenizer(vocab=vocab, merges=merges, model_max_length=LENGTH)  # type: ignore[arg-type]
    made.add_special_tokens({"additional_special_tokens": [t for t in QWEN_SPECIAL if t != "<|endoftext|>"]})
    made.chat_template = CHAT
    return made


def plain_bpe(begin: str, end: str, special: tuple[str, ...] = ()) -> Callable[[Iterable[str]], Any]:
    """A byte-level BPE without a class of its own, with a begin token in front of each text (GLM, Llama 3, SmolLM)."""

    def build(words: Iterable[str]) -> Any:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
        from transformers import PreTrainedTokenizerFast

        vocab, merges = _byte_bpe(words)
        made = Tokenizer(models.BPE(vocab=vocab, merges=merges))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        made.add_special_tokens([begin, end, *special])
        made.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, made.token_to_id(begin))]
        )
        fast: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=made, bos_token=begin, eos_token=end, pad_token=end, model_max_length=LENGTH
        )
        fast.chat_template = CHAT.replace("<|im_start|>", "").replace("<|im_end|>", "")
        return fast

    return build


def gemma(words: Iterable[str]) -> Any:
    """Characters and words after a space mark; a begin token in front, without which an empty prompt is all padding."""
    from tokenizers import processors
    from transformers import GemmaTokenizer

    vocab, merges = _space_bpe(words, ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>"))
    made: Any = GemmaTokenizer(vocab=vocab, merges=merges, model_max_length=LENGTH)  # type: ignore[arg-type]
    made._tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", vocab["<bos>"])]
    )
    made.chat_template = CHAT
    return made


def llama(words: Iterable[str]) -> Any:
    """The same for Llama: ``<s>`` in front."""
    from tokenizers import processors
    from transformers import LlamaTokenizer

    vocab, merges = _space_bpe(words, ("<unk>", "<s>", "</s>", "<pad>"))
    made: Any = LlamaTokenizer(vocab=vocab, merges=merges, pad_token="<pad>", model_max_length=LENGTH)
    made._tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", vocab["<s>"])]
    )
    return made


def llava(words: Iterable[str]) -> Any:
    """The same with the marks of a conversation and of a picture in it."""
    made = llama(words)
    marks = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<image>"]
    made.add_special_tokens({"additional_special_tokens": marks})
    made.padding_side = "right"
    return made


def bert(words: Iterable[str]) -> Any:
    """Word pieces: the words, and single letters for the rest."""
    from transformers import BertTokenizer

    letters = sorted({c for w in words for c in w.lower()})
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    tokens += sorted({w.lower() for w in words if len(w) > 1})
    return BertTokenizer(vocab={t: i for i, t in enumerate(tokens)}, model_max_length=LENGTH)


def byt5(words: Iterable[str]) -> Any:
    """Bytes: there is nothing to train."""
    from transformers import ByT5Tokenizer

    return ByT5Tokenizer(model_max_length=LENGTH)


BUILDERS: dict[str, Callable[[Iterable[str]], Any]] = {
    "bert": bert,
    "byt5": byt5,
    "clip": lambda words: clip_tokenizer({}),
    "gemma": gemma,
    "glm": plain_bpe("[gMASK]", "<|endoftext|>", ("<sop>", "<|user|>", "<|assistant|>")),
    "llama": llama,
    "llama3": plain_bpe("<|begin_of_text|>", "<|eot_id|>"),
    "llava": llava,
    "mistral": plain_bpe("<s>", "</s>", ("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[IMG]")),
    "qwen": qwen,
    "smol": plain_bpe("<|begin_of_text|>", "<|end_of_text|>"),
    "t5": lambda words: t5_tokenizer({}),
}

BY_CLASS = {
    "BertTokenizer": "bert",
    "ByT5Tokenizer": "byt5",
    "CLIPTokenizer": "clip",
    "GemmaTokenizer": "gemma",
    "LlamaTokenizer": "llama",
    "LlamaTokenizerFast": "llama",
    "Qwen2Tokenizer": "qwen",
    "Qwen2TokenizerFast": "qwen",
    "T5Tokenizer": "t5",
    "T5TokenizerFast": "t5",
}


def build(family: str, words: Iterable[str]) -> Any:
    """A tokenizer of the named family.

    Raises:
        OmniportError: there is no such family.
    """
    if family not in BUILDERS:
        raise OmniportError(f"no tokenizer family {family!r}; there are {', '.join(sorted(BUILDERS))}")
    return BUILDERS[family](words)
