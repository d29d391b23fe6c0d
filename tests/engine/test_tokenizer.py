"""A checkpoint without its own tokenizer is mended or refused: never every word the same."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import sentencepiece
from tokenizers import Tokenizer, models, pre_tokenizers

from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.errors import InvalidCheckpoint, ModelUnavailable
from musicgen_space.models import embedded_folder
from tests.checkpoint.audiocraft_format import audiocraft_from
from tests.conftest import TORCH

FILES = ("tokenizer.json", "tokenizer_config.json")
MAP = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}


@pytest.fixture(params=["transformers", "audiocraft"])
def folder(request: pytest.FixtureRequest, tiny_folder: Path, tmp_path: Path) -> Path:
    """Where the tokenizer of a tiny checkpoint should be, in each format; it is not there."""
    if request.param == "audiocraft":
        text = audiocraft_from(tiny_folder, tmp_path / "checkpoint") / "t5-base"
    else:
        text = Path(shutil.copytree(tiny_folder, tmp_path / "checkpoint"))
    for name in FILES:
        (text / name).unlink()
    return text


def loaded(folder: Path, fetch: Callable[..., Path] | None = None) -> Callable[[str], list[int]]:
    """Load the checkpoint; → what its tokenizer makes of a prompt."""
    whole = folder.parent if folder.name == "t5-base" else folder
    model = load(whole, TORCH, fetch or unreachable)
    return lambda prompt: model.text._tokenizer(prompt).input_ids


def unreachable(name: str, tokenizer_only: bool = False) -> Path:
    raise ModelUnavailable(f"{name} can't be reached.")


def named(folder: Path, name: str | None = "t5-base") -> None:
    """Let the configuration say what the text encoder is called, as transformers writes it."""
    file = folder / "config.json"
    config = json.loads(file.read_text())
    if "text_encoder" in config:
        config["text_encoder"]["_name_or_path"] = name
        file.write_text(json.dumps(config))


def sentences(words: Iterable[str], vocabulary: int = 3000) -> bytes:
    """A sentencepiece model with T5's special tokens, trained on ``words``."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*words] * 3), model_writer=written, vocab_size=vocabulary,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    return written.getvalue()


def write_json(folder: Path, vocabulary: dict[str, int], unknown: str = "<unk>") -> None:
    """A tokenizer of whole words, as ``tokenizers`` saves it."""
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    options = {"tokenizer_class": "TokenizersBackend", **MAP}
    (folder / "tokenizer_config.json").write_text(json.dumps(options))


# Without one.


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"special_tokens_map.json": MAP},
        {"tokenizer_config.json": {"tokenizer_class": "T5Tokenizer", "extra_ids": 100, **MAP}},
        {"added_tokens.json": {"<extra_id_0>": 4000}, "special_tokens_map.json": MAP},
    ],
    ids=lambda content: "+".join(content) or "nothing",
)
def test_none_is_made_up(folder: Path, content: dict[str, object]) -> None:
    for name, values in content.items():
        (folder / name).write_text(json.dumps(values))
    named(folder, None)
    with pytest.raises((InvalidCheckpoint, ModelUnavailable), match="has no tokenizer") as caught:
        loaded(folder)
    assert "t5-base" in str(caught.value)  # what to do


def test_that_of_the_text_encoder_is_fetched_by_the_name_in_the_configuration(
    folder: Path, tiny_folder: Path
) -> None:
    named(folder)
    asked: list[tuple[str, bool]] = []

    def fetch(name: str, *, tokenizer_only: bool = False) -> Path:
        asked.append((name, tokenizer_only))
        return tiny_folder

    encode = loaded(folder, fetch)
    assert asked == [("t5-base", True)]
    assert encode("jazz") != encode("rock")


def test_or_found_beside_the_checkpoint(folder: Path, tiny_folder: Path) -> None:
    named(folder, "google/t5")
    place = folder / ("t5-base" if folder.name == "t5-base" else "google/t5")
    place.mkdir(parents=True)
    for name in FILES:
        shutil.copy(tiny_folder / name, place)
    encode = loaded(folder)
    assert encode("jazz") != encode("rock")


def test_a_hub_that_can_not_be_reached_is_no_reason_to_make_one_up(folder: Path) -> None:
    named(folder)
    with pytest.raises(ModelUnavailable, match=r"has no tokenizer.*t5-base can't be reached"):
        loaded(folder)


def test_a_path_of_another_machine_is_not_looked_for_on_the_hub(
    tiny_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "checkpoint"))
    (folder / "tokenizer.json").unlink()
    named(folder, "/home/trainer/t5-base")
    with pytest.raises(InvalidCheckpoint, match="has no tokenizer"):
        loaded(folder)


# One that is not the text encoder's.


def test_one_with_too_few_or_too_many_entries_is_refused(folder: Path) -> None:
    for count in (300, 4097):
        write_json(
            folder, {word: n for n, word in enumerate([*MAP.values(), *map(str, range(count - 3))])}
        )
        with pytest.raises(InvalidCheckpoint, match=f"{count} entries, the text encoder 4096"):
            loaded(folder)


def test_one_that_knows_no_word_is_refused(folder: Path) -> None:
    write_json(folder, {word: n for n, word in enumerate([*MAP.values(), *map(str, range(4000))])})
    with pytest.raises(InvalidCheckpoint, match=r"the words piano, .* the same tokens"):
        loaded(folder)


def test_one_with_other_special_tokens_is_refused(folder: Path) -> None:
    words = ["piano", "drums", *map(str, range(4000)), *MAP.values()]
    write_json(folder, {word: n for n, word in enumerate(words)})
    with pytest.raises(InvalidCheckpoint, match="pad_token_id is 4002, the text encoder's 0"):
        loaded(folder)


# A sentencepiece model alone.


def test_a_sentencepiece_model_alone_is_a_tokenizer(folder: Path) -> None:
    vocabulary = json.loads((embedded_folder() / "tokenizer.json").read_text())["model"]["vocab"]
    content = sentences(vocabulary)
    (folder / "spiece.model").write_bytes(content)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=content)
    encode = loaded(folder)
    for prompt in ("upbeat funk with brass", "sad  solo piano, slow", "Köln 1975", "日本"):
        assert encode(prompt) == [*theirs.encode(prompt), theirs.eos_id()]


def test_a_sentencepiece_model_that_is_damaged_is_refused(folder: Path) -> None:
    (folder / "spiece.model").write_bytes(b"\x0a\xff not one")
    with pytest.raises(InvalidCheckpoint, match=r"no usable tokenizer: its spiece\.model is dam"):
        loaded(folder)


def test_with_both_files_the_ready_one_is_read(folder: Path, tiny_folder: Path) -> None:
    for name in FILES:
        shutil.copy(tiny_folder / name, folder)
    (folder / "spiece.model").write_bytes(b"\x0a\xff not one")
    assert len(loaded(folder)("upbeat funk with brass")) > 4
