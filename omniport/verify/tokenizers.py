"""Tokenizers built from a few lines of text: class and special tokens as published, vocabulary tiny and fixed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omniport.errors import OmniportError

PROMPTS = ("a photo of a cat sitting on a red chair", "a watercolor painting of a mountain lake at sunrise with birds")
NEGATIVE = "low quality, blurry, distorted"
CORPUS = (*PROMPTS, NEGATIVE)


def clip_tokenizer(config: dict[str, Any]) -> Any:
    """Byte-level BPE whose end-of-text token has the highest id: CLIP finds the end of a prompt as the largest id.

    The merges fold each word of the corpus from the left.  A trained BPE would break ties differently in each process.
    """
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    merges: list[tuple[str, str]] = []
    for word in sorted({w for line in CORPUS for w in line.replace(",", " ,").split()}):
        letters = [*word[:-1], word[-1] + "</w>"]
        while len(letters) > 1:
            pair = (letters[0], letters[1])
            letters[:2] = ["".join(pair)]
            if pair not in merges:
                merges.append(pair)
                tokens.append(letters[0])
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(tokens)}
    limit = config.get("model_max_length", 77)
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=limit)  # type: ignore[arg-type]


def t5_tokenizer(config: dict[str, Any]) -> Any:
    """Unigram over the words and letters of the corpus, pad 0 and end 1 as T5 has them."""
    from transformers import T5Tokenizer

    words = sorted({w for line in CORPUS for w in line.replace(",", " ,").split()})
    letters = sorted({c for line in CORPUS for c in line if not c.isspace()})
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    vocab += [("\u2581" + word, -3.0 - i / 100) for i, word in enumerate(words)]
    vocab += [(letter, -8.0 - i / 100) for i, letter in enumerate(letters)]
    return T5Tokenizer(
        vocab=vocab, extra_ids=0, additional_special_tokens=[], model_max_length=config.get("model_max_length", 512)
    )


BUILDERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "CLIPTokenizer": clip_tokenizer,
    "CLIPTokenizerFast": clip_tokenizer,
    "T5Tokenizer": t5_tokenizer,
    "T5TokenizerFast": t5_tokenizer,
}


def build_tokenizer(class_name: str, config: dict[str, Any]) -> Any:
    """Build a tokenizer of the named class.

    Raises:
        OmniportError: there is no builder for it.
    """
    if class_name not in BUILDERS:
        raise OmniportError(f"no tiny {class_name} can be built; there are builders for {', '.join(sorted(BUILDERS))}")
    return BUILDERS[class_name](config)


def tokenizer_facts(tokenizer: Any) -> dict[str, int]:
    """What an encoder's config takes from its tokenizer: vocabulary size and the ids of begin and end."""
    return {
        "size": len(tokenizer),
        "bos": tokenizer.bos_token_id if tokenizer.bos_token_id is not None else 0,
        "eos": tokenizer.eos_token_id,
    }
