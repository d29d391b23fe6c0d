"""The whole MusicGen, as transformers has it, and its predictions for known codes."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from transformers import (
    EncodecModel,
    MusicgenDecoderConfig,
    MusicgenForCausalLM,
    MusicgenForConditionalGeneration,
    T5Config,
    T5EncoderModel,
)

from training.lm.captions import END, PAD
from training.presets import LanguagePreset

__all__ = ["build", "cross_entropy", "trained_parts"]

_POSITIONS = 2048  # 30 s are 1,504


def build(preset: LanguagePreset, codec: EncodecModel) -> MusicgenForConditionalGeneration:
    """An untrained MusicGen around a trained ``codec``."""
    text = T5Config(
        vocab_size=preset.vocabulary,
        d_model=preset.text_width,
        d_kv=preset.text_width // preset.text_heads,
        d_ff=4 * preset.text_width,
        num_layers=preset.text_layers,
        num_heads=preset.text_heads,
        dropout_rate=0.0,
        pad_token_id=PAD,
        eos_token_id=END,
        decoder_start_token_id=PAD,
    )
    size = codec.config.codebook_size
    decoder = MusicgenDecoderConfig(
        vocab_size=size,
        pad_token_id=size,
        bos_token_id=size,
        hidden_size=preset.width,
        ffn_dim=4 * preset.width,
        num_hidden_layers=preset.layers,
        num_attention_heads=preset.heads,
        num_codebooks=codec.config.num_quantizers,
        dropout=preset.dropout,
        max_position_embeddings=_POSITIONS,
        audio_channels=1,
    )
    model = MusicgenForConditionalGeneration(
        text_encoder=T5EncoderModel(text),
        audio_encoder=codec,
        decoder=MusicgenForCausalLM(decoder),
    )
    # Chosen here, as nothing chooses for models that are put together. It takes masks of bool.
    model.text_encoder.set_attn_implementation("sdpa")
    model.decoder.set_attn_implementation("sdpa")
    return model


def trained_parts(model: MusicgenForConditionalGeneration) -> list[nn.Parameter]:
    """The weights of all but the codec."""
    parts = (model.text_encoder, model.enc_to_dec_proj, model.decoder)
    return [weight for part in parts for weight in part.parameters()]


def cross_entropy(
    model: MusicgenForConditionalGeneration,
    tokens: torch.Tensor,
    mask: torch.Tensor,
    told: torch.Tensor,
    sequences: torch.Tensor,
) -> torch.Tensor:
    """How badly each step is predicted from those before it: by codebook, [K], in nats.

    ``sequences`` [B, K, S] are codes with the delay pattern, ``tokens`` and ``mask`` [B, L] the
    captions, ``told`` bool [B] who may read theirs. It never reads a number back.
    """
    states, reads = _text(model, tokens, mask.bool(), told)
    known, expected = sequences[:, :, :-1], sequences[:, :, 1:]
    hidden = model.decoder.model(
        input_ids=known.flatten(0, 1),
        encoder_hidden_states=states,
        encoder_attention_mask=reads[:, None, None, :],
        use_cache=False,
    ).last_hidden_state
    special = model.decoder.config.pad_token_id  # stands where there is nothing to predict
    losses = [
        functional.cross_entropy(
            head(hidden).flatten(0, 1).float(), codes.flatten(), ignore_index=special
        )
        for head, codes in zip(model.decoder.lm_heads, expected.unbind(1), strict=True)
    ]
    return torch.stack(losses)


def _text(
    model: MusicgenForConditionalGeneration,
    tokens: torch.Tensor,
    mask: torch.Tensor,
    told: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The captions' states [B, L, W] and which of them are read, bool [B, L].

    Who is told nothing reads zeros, which add exactly nothing, as in guidance.
    """
    states = model.text_encoder(tokens, attention_mask=mask[:, None, None, :]).last_hidden_state
    states = model.enc_to_dec_proj(states)
    heard = mask & told[:, None]
    return states * heard[..., None], heard | ~told[:, None]
