"""The parts of training, at tiny sizes, against transformers' own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from musicgen_space.engine.delay import DelayPattern
from musicgen_space.models import embedded_folder
from training.codec import network
from training.codec.train import CodecTrainer
from training.graphs import captured
from training.lm.captions import CaptionReader, train_tokenizer, with_noise
from training.lm.model import build, cross_entropy
from training.lm.train import LanguageTrainer
from training.lm.words import noise_words
from training.presets import HELD_OUT_SEEDS, NANO, SMOKE, TRAINING_SEEDS
from training.schedule import Schedule

CPU = torch.device("cpu")
READS_BACK = (
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
)


class NothingIsReadBack(TorchDispatchMode):
    """A CUDA graph can't be recorded of what asks the GPU for a number."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        assert function not in READS_BACK, f"{function} waits for the GPU"
        return function(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def codec() -> CodecTrainer:
    torch.manual_seed(0)
    trainer = CodecTrainer(SMOKE.codec, CPU)
    trainer.sound.normal_(0, 0.1)
    trainer.quantiser.start_from(trainer.embed().detach())
    return trainer


@pytest.fixture(scope="module")
def language(codec: CodecTrainer) -> LanguageTrainer:
    torch.manual_seed(0)
    preset = replace(SMOKE.language, dropout=0.0)
    trainer = LanguageTrainer(preset, codec.finished(), 12, CPU)
    codes = torch.randint(SMOKE.codec.codebook_size, (4, 4, 12))
    trainer.sequences.copy_(DelayPattern((0, 1, 2, 3), 12).build_sequence(codes, trainer.special))
    trainer.tokens.random_(3, 100)
    trainer.mask[1, 5:] = 0
    trainer.told[2] = False
    return trainer


def test_the_codec_runs_as_transformers_runs_it(codec: CodecTrainer) -> None:
    with torch.no_grad():
        ours = codec.embed()
        assert torch.allclose(ours, codec.model.encoder(codec.sound[:, None]), atol=1e-6)
        sound = network.run(codec.model.decoder.layers, ours)
        assert torch.allclose(sound, codec.model.decoder(ours), atol=1e-6)


def test_codebooks_mean_to_transformers_what_was_trained(codec: CodecTrainer) -> None:
    model = codec.finished()
    with torch.no_grad():
        embeddings = codec.embed()
        codes = model.quantizer.encode(embeddings, bandwidth=None)
        rest = embeddings.transpose(1, 2)
        for entries, chosen in zip(codec.quantiser.entries, codes, strict=True):
            nearest = torch.cdist(rest, entries[None]).argmin(-1)
            assert (nearest == chosen).float().mean() > 0.99
            rest = rest - entries[chosen]


def test_cross_entropy_is_that_of_transformers_logits(language: LanguageTrainer) -> None:
    trainer = language
    told, mask = trainer.told, trainer.mask
    with torch.no_grad():
        ours = trainer.losses(trainer.tokens, mask, told, trainer.sequences)
        states = trainer.model.text_encoder(trainer.tokens, attention_mask=mask).last_hidden_state
        # Guidance in transformers: who is told nothing has states of zeros, all masked.
        logits = trainer.model(
            encoder_outputs=(states,),
            attention_mask=mask * told[:, None],
            decoder_input_ids=trainer.sequences[:, :, :-1].flatten(0, 1),
        ).logits
    logits = logits.unflatten(0, (4, 4))
    for codebook in range(4):
        theirs = functional.cross_entropy(
            logits[:, codebook].flatten(0, 1),
            trainer.sequences[:, codebook, 1:].flatten(),
            ignore_index=trainer.special,
        )
        assert ours[codebook].item() == pytest.approx(theirs.item(), abs=1e-5)


def test_steps_can_be_recorded(codec: CodecTrainer, language: LanguageTrainer) -> None:
    with NothingIsReadBack():
        quantised, commitment, _ = codec.quantiser(codec.embed())
        made = network.run(codec.model.decoder.layers, quantised)
        (made.square().mean() + commitment).backward()
        trainer = language
        losses = cross_entropy(
            trainer.model, trainer.tokens, trainer.mask, trainer.told, trainer.sequences
        )
        losses.mean().backward()


def test_on_a_cpu_the_same_step_runs() -> None:
    def step() -> dict[str, torch.Tensor]:
        return {}

    assert captured(step, CPU) is step


def test_nano_has_the_shapes_of_the_embedded_checkpoint() -> None:
    with torch.device("meta"):
        model = build(NANO.language, network.build(NANO.codec))
    ours = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    ours.pop("text_encoder.encoder.embed_tokens.weight")  # another name for shared.weight
    theirs = {}
    for file in embedded_folder().glob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            theirs |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    assert ours == theirs


def test_held_out_pieces_are_never_trained_on() -> None:
    assert not set(TRAINING_SEEDS) & set(HELD_OUT_SEEDS)
    with pytest.raises(ValueError, match="pieces is 1000001"):
        replace(NANO.music, pieces=1_000_001)


def test_noise_means_nothing() -> None:
    captions = ["sad house with piano", "winter, slow"]
    noise = noise_words(captions)
    assert len(noise) > 300
    assert not {"sad", "house", "with", "winter"} & set(noise)


def test_tokens_have_a_fixed_length() -> None:
    tokenizer = train_tokenizer(["sad house with piano, 120 bpm"], 200)
    tokens, mask = CaptionReader(tokenizer, 16).read(["Sad", "house " * 40])
    assert tokens.shape == mask.shape == (2, 16)
    assert mask[0].sum() == 2  # the word and the end
    assert "sad house with piano" in tokenizer.decode(
        tokenizer("SAD house with piano")["input_ids"]
    )


def test_noise_comes_from_the_seed_and_keeps_the_caption() -> None:
    import numpy as np

    noisy = [with_noise("a b c", ["x"], np.random.default_rng(seed)) for seed in (0, 0)]
    assert noisy[0] == noisy[1] != "a b c"
    assert noisy[0].replace("x", "").split() == ["a", "b", "c"]


def test_rates_depend_on_steps_only_unless_time_is_short() -> None:
    schedule = Schedule(10)
    rates = [schedule.rate(1.0, warm_up=2) for _ in schedule]
    assert len(rates) == 10
    assert rates[0] == pytest.approx(0.5)
    assert rates[1] == max(rates)
    assert rates[-1] < 0.1
    assert list(Schedule(10**9, seconds=1e-9)) == [0]
