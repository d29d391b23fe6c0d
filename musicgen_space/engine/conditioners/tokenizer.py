"""Loads the tokenizer of a checkpoint's text encoder and validates that they match.

Without tokenizer files transformers silently creates an empty one, to which all prompts are
the same; so the files are checked first.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, T5Config

from musicgen_space.engine.checkpoint.files import has_tokenizer, read_json
from musicgen_space.engine.checkpoint.parts import TextPart
from musicgen_space.engine.checkpoint.references import Fetch, find, is_name
from musicgen_space.engine.checkpoint.untrusted import check_regular
from musicgen_space.errors import InvalidCheckpoint, ModelUnavailable

__all__ = ["load_tokenizer"]

_SPECIAL = ("pad_token_id", "eos_token_id")  # in both the config and the tokenizer
# The files that transformers may read for a tokenizer; the largest known of T5's family are
# mT5's, 16 MB.
_FILES = ("*.json", "*.model", "*.txt", "*.jinja", "additional_chat_templates/*")
_MAX_BYTES = 64 * 2**20
_CONFIG = "tokenizer_config.json"
_MAX_COUNT = 2**16  # of token counts in the config, such as extra_ids; T5 has 100
_PROBE_WORDS = ("piano", "drums", "slow", "guitar")  # common in prompts


def load_tokenizer(part: TextPart, fetch: Fetch) -> Any:
    """The tokenizer in the folder of ``part``, else that of its text encoder by name.

    Raises ``InvalidCheckpoint`` if there is none or it doesn't match the text encoder, and
    ``ModelUnavailable`` if it can't be fetched.
    """
    folder = part.folder if has_tokenizer(part.folder) else _encoder_folder(part, fetch)
    _check_files(folder)
    tokenizer = _read(folder, part.config)
    mismatch = _mismatch(tokenizer, part.config)
    if mismatch:
        raise InvalidCheckpoint(
            f"The tokenizer in {folder} does not match the text encoder: {mismatch}."
        )
    return tokenizer


def _encoder_folder(part: TextPart, fetch: Fetch) -> Path:
    none = f"{part.folder} has no tokenizer (tokenizer.json or spiece.model)"
    if not is_name(part.name):
        raise InvalidCheckpoint(
            f"{none}, and its configuration doesn't name its text encoder. Put the tokenizer "
            "there that it was trained with; most MusicGen models use that of t5-base."
        )
    try:
        return find(part.name, part.folder, partial(fetch, tokenizer_only=True), has_tokenizer)
    except ModelUnavailable as error:
        raise ModelUnavailable(f"{none}. {error}") from None


def _check_files(folder: Path) -> None:
    """Raise ``InvalidCheckpoint`` if reading them could block or exhaust memory."""
    for path in (path for pattern in _FILES for path in folder.glob(pattern)):
        check_regular(path, _MAX_BYTES)
    config = folder / _CONFIG
    for name, value in (read_json(config) if config.is_file() else {}).items():
        # Tokens are allocated by counts like extra_ids; model_max_length is only a limit.
        if isinstance(value, int | float) and value > _MAX_COUNT and name != "model_max_length":
            raise InvalidCheckpoint(f"{config} says {name} {value}, more than {_MAX_COUNT}.")


def _read(folder: Path, config: T5Config) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, config=config, local_files_only=True, trust_remote_code=False
        )
        tokenizer(list(_PROBE_WORDS))  # some errors only show on use
        return tokenizer
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # its readers raise anything; the Rust one panics
        if (folder / "tokenizer.json").is_file():
            reason = " ".join(str(error).split())[:200]
        else:  # its own message is about a fallback format
            reason = "its spiece.model is damaged"
        raise InvalidCheckpoint(f"{folder} has no usable tokenizer: {reason}") from None


def _mismatch(tokenizer: Any, config: T5Config) -> str:
    """Why the text encoder can't have been trained with it; "" if it can."""
    # Embeddings may be larger than vocabularies: T5's has 32128 rows for 32100 entries.
    if not config.vocab_size / 4 <= len(tokenizer) <= config.vocab_size:
        return f"it has {len(tokenizer)} entries, the text encoder {config.vocab_size}"
    for name in _SPECIAL:
        ours, theirs = getattr(tokenizer, name), getattr(config, name)
        if theirs not in (None, ours):
            return f"its {name} is {ours}, the text encoder's {theirs}"
    if len({tuple(tokenizer(word).input_ids) for word in _PROBE_WORDS}) == 1:
        return f"it gives the words {', '.join(_PROBE_WORDS)} the same tokens"
    return ""
