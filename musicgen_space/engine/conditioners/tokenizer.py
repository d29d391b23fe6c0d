"""The tokenizer of a checkpoint's text encoder: read, and seen to be the right one.

Where there are no files of a tokenizer, transformers makes one up, which knows no word: all
prompts would be the same to the model.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, T5Config

from musicgen_space.engine.checkpoint.files import has_tokenizer, read_json
from musicgen_space.engine.checkpoint.named import Fetch, find, is_name
from musicgen_space.engine.checkpoint.opening import check_regular
from musicgen_space.engine.checkpoint.parts import TextPart
from musicgen_space.errors import InvalidCheckpoint, ModelUnavailable

__all__ = ["tokenizer_of"]

_SPECIAL = ("pad_token_id", "eos_token_id")  # as configuration and tokenizer call them
# What transformers may read of a folder for its tokenizer; the largest that are known of T5's
# family are mT5's, of 16 MB.
_FILES = ("*.json", "*.model", "*.txt", "*.jinja", "additional_chat_templates/*")
_MOST_BYTES = 64 * 2**20
_CONFIG = "tokenizer_config.json"
_MOST_ENTRIES = 2**16  # of each kind that the configuration only counts; T5 has 100
_WORDS = ("piano", "drums", "slow", "guitar")  # of which descriptions of music are made


def tokenizer_of(part: TextPart, fetch: Fetch) -> Any:
    """The tokenizer in the folder of ``part``; without one there, its text encoder's own.

    Raises ``InvalidCheckpoint`` where there is none, or one of another text encoder, and
    ``ModelUnavailable`` where it can't be fetched.
    """
    folder = part.folder if has_tokenizer(part.folder) else _folder_of_its_own(part, fetch)
    _check_files(folder)
    tokenizer = _read(folder, part.config)
    fault = _fault(tokenizer, part.config)
    if fault:
        raise InvalidCheckpoint(f"The tokenizer in {folder} is not its text encoder's: {fault}.")
    return tokenizer


def _folder_of_its_own(part: TextPart, fetch: Fetch) -> Path:
    none = f"{part.folder} has no tokenizer (tokenizer.json or spiece.model)"
    if not is_name(part.name):
        raise InvalidCheckpoint(
            f"{none}, and its configuration doesn't name its text encoder. Put the tokenizer "
            "there that it was trained with; that of most MusicGens is t5-base's."
        )
    try:
        return find(part.name, part.folder, partial(fetch, tokenizer_only=True), has_tokenizer)
    except ModelUnavailable as error:
        raise ModelUnavailable(f"{none}. {error}") from None


def _check_files(folder: Path) -> None:
    """Raise ``InvalidCheckpoint`` where reading them could hang or fill the memory."""
    for path in (path for pattern in _FILES for path in folder.glob(pattern)):
        check_regular(path, _MOST_BYTES)
    config = folder / _CONFIG
    for name, value in (read_json(config) if config.is_file() else {}).items():
        # Entries are made of such numbers, as of extra_ids; this one is only a limit.
        if isinstance(value, int | float) and value > _MOST_ENTRIES and name != "model_max_length":
            raise InvalidCheckpoint(f"{config} says {name} {value}, more than {_MOST_ENTRIES}.")


def _read(folder: Path, config: T5Config) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, config=config, local_files_only=True, trust_remote_code=False
        )
        tokenizer(list(_WORDS))  # some fail only then
        return tokenizer
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # its many readers raise whatever comes to their mind, or panic
        if (folder / "tokenizer.json").is_file():
            reason = " ".join(str(error).split())[:200]
        else:  # then it tries a format that was not meant, and says what it lacks for that
            reason = "its spiece.model is damaged"
        raise InvalidCheckpoint(f"{folder} has no usable tokenizer: {reason}") from None


def _fault(tokenizer: Any, config: T5Config) -> str:
    """Why it can't be the one that the text encoder was trained with; "" if it can."""
    # Embeddings may be larger than vocabularies: T5's has 32128 rows for 32100 entries.
    if not config.vocab_size / 4 <= len(tokenizer) <= config.vocab_size:
        return f"it has {len(tokenizer)} entries, the text encoder {config.vocab_size}"
    for name in _SPECIAL:
        ours, theirs = getattr(tokenizer, name), getattr(config, name)
        if theirs not in (None, ours):
            return f"its {name} is {ours}, the text encoder's {theirs}"
    if len({tuple(tokenizer(word).input_ids) for word in _WORDS}) == 1:
        return f"to it the words {', '.join(_WORDS)} are all the same"
    return ""
