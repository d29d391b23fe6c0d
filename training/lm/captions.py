"""Captions as T5 reads them: a tokenizer of their own words, and noise against rigid reading."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

__all__ = ["END", "PAD", "CaptionReader", "train_tokenizer", "with_noise"]

PAD, END = 0, 1  # T5's tokens
_SPECIAL = ["<pad>", "</s>", "<unk>"]
_LETTERS = list("abcdefghijklmnopqrstuvwxyz0123456789-.,'&!?")
_MOST_NOISE = 3  # words


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-pair encoding of lower-case words without accents; digits stand alone.

    It has at most ``vocabulary`` pieces: less, if ``texts`` have few words.
    """
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.Lowercase(), normalizers.StripAccents()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=_SPECIAL,
        initial_alphabet=_LETTERS,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=64,
    )


def with_noise(caption: str, noise: list[str], random: np.random.Generator) -> str:
    """The caption with one to three words of ``noise`` anywhere in it."""
    words = caption.split()
    for _ in range(random.integers(1, _MOST_NOISE + 1)):
        place = random.integers(0, len(words) + 1)
        words.insert(place, noise[random.integers(0, len(noise))])
    return " ".join(words)


class CaptionReader:
    """Captions → tokens of a fixed length, as a CUDA graph needs."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, length: int) -> None:
        self._tokenizer, self._length = tokenizer, length

    def read(self, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and their mask, int64 [B, length]."""
        tokens = self._tokenizer(
            captions,
            padding="max_length",
            truncation=True,
            max_length=self._length,
            return_tensors="pt",
        )
        return tokens["input_ids"], tokens["attention_mask"]
