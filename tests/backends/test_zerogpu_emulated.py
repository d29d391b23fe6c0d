"""The app itself as it starts on a Space with ZeroGPU, as far as that goes without a card.

Torch built for CUDA is needed: there ``spaces`` pretends that the process has a card, takes the
models that are put on it, and forks. That process then finds none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from gradio_client import Client
from gradio_client.exceptions import AppError

from tests.servers.app import serving
from tests.servers.zerogpu import TOKEN, Device, device_api

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="ZeroGPU's client is for Linux"),
    pytest.mark.skipif(torch.version.cuda is None, reason="torch is not built for CUDA"),
]


@dataclass(frozen=True)
class Space:
    client: Client
    device: Device
    log: Path

    def make(self, **wish: Any) -> Any:
        return self.client.predict("jazz", duration=1, **wish, api_name="/generate")[1]


@pytest.fixture(scope="module")
def space(
    tiny_folder: Path, tiny_melody_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Space]:
    folder = tmp_path_factory.mktemp("space")
    with device_api() as device:
        environment = {
            "SPACES_ZERO_GPU": "true",
            "SPACES_ZERO_DEVICE_API_URL": device.url,
            "ZEROGPU_OFFLOAD_DIR": str(folder / "tensors"),
            "MUSICGEN_MODELS": f"{tiny_folder},{tiny_melody_folder}",
        }
        with serving(folder / "log", **environment) as address:
            client = Client(address, headers={"x-ip-token": TOKEN}, verbose=False)
            yield Space(client, device, folder / "log")


def test_models_are_placed_and_the_space_reports_that_it_is_ready(
    space: Space, tiny_folder: Path, tiny_melody_folder: Path
) -> None:
    offered = space.client.predict(api_name="/models")
    on_gpu = {each["model"]: each["melody"] for each in offered if each["backend"] == "zerogpu"}
    assert on_gpu == {str(tiny_folder): False, str(tiny_melody_folder): True}
    assert offered[0]["backend"] == "zerogpu"
    assert [each["model"] for each in offered if each["backend"] == "local"] == ["musicgen-nano"]
    assert space.device.reports == 1


def test_a_model_that_can_not_be_had_is_left_out(space: Space) -> None:
    assert "facebook/musicgen-small is not offered" in space.log.read_text()


def test_the_embedded_model_makes_music_on_the_cpu(space: Space) -> None:
    made = space.make(backend="local")
    assert (made["status"], made["model"]) == ("Done", "musicgen-nano")
    assert space.device.asked == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_the_failure_of_the_forked_process_is_told(space: Space) -> None:
    with pytest.raises(AppError, match=r"ZeroGPU failed; the Space's log says why"):
        space.make(backend="zerogpu")
    assert space.device.tokens == [TOKEN]
    assert space.device.released == [{"allowToken": "lent", "fail": "true"}]
    assert "NVIDIA driver" in space.log.read_text()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no card")
def test_with_a_card_a_take_is_made_on_it(space: Space) -> None:
    made = space.make(backend="zerogpu")
    assert (made["status"], made["duration"]) == ("Done", 1.0)
