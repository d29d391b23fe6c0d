from __future__ import annotations

import pytest
import torch

from musicgen_space.engine.placement import CPU, choose_placement
from musicgen_space.errors import InvalidSetting


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with two CUDA cards, as far as the choice among them goes: a new, an old one."""
    capabilities = {0: (9, 0), 1: (7, 5)}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda,
        "get_device_capability",
        lambda device: capabilities[torch.device(device).index or 0],
    )
    return monkeypatch


@pytest.fixture
def no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("no_card")
def test_without_a_card_the_cpu_computes_in_float32() -> None:
    assert choose_placement() == CPU


@pytest.mark.usefixtures("two_cards")
def test_a_card_is_preferred_and_computes_in_what_it_is_good_at() -> None:
    assert choose_placement().device == torch.device("cuda")
    assert choose_placement().dtype == torch.bfloat16
    old = choose_placement("cuda:1")
    assert (old.device, old.dtype) == (torch.device("cuda:1"), torch.float16)


@pytest.mark.usefixtures("two_cards")
def test_the_owner_decides() -> None:
    assert choose_placement("cpu").device == torch.device("cpu")
    assert choose_placement("cuda", "float32").dtype == torch.float32
    assert choose_placement("cpu", "bfloat16").dtype == torch.bfloat16


@pytest.mark.usefixtures("no_card")
def test_apples_gpu_is_used_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_placement() == CPU
    chosen = choose_placement("mps")
    assert (chosen.device.type, chosen.dtype) == ("mps", torch.float32)
    assert chosen.codec_device == torch.device("cpu")


@pytest.mark.usefixtures("no_card")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_there_is_an_error_that_says_what_is(device: str) -> None:
    with pytest.raises(InvalidSetting, match=f"MUSICGEN_DEVICE is {device}, .* only cpu here"):
        choose_placement(device)


@pytest.mark.usefixtures("two_cards")
def test_a_third_card_is_not_one_of_two() -> None:
    with pytest.raises(InvalidSetting, match="only cpu, cuda, cuda:0, cuda:1 here"):
        choose_placement("cuda:2")
