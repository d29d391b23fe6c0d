from __future__ import annotations

import pytest

from musicgen_space.errors import InvalidSetting
from musicgen_space.settings import Settings


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_environment({}) == Settings()


def test_a_space_listens_on_every_address() -> None:
    assert Settings.from_environment({"SPACE_ID": "someone/space"}).host == "0.0.0.0"
    assert Settings.from_environment({}).host == "127.0.0.1"


def test_models_are_separated_by_commas() -> None:
    environ = {"MUSICGEN_MODELS": " ./mine , facebook/musicgen-small,"}
    assert Settings.from_environment(environ).models == ("./mine", "facebook/musicgen-small")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GRADIO_SERVER_PORT", "http"),
        ("GRADIO_SERVER_PORT", "70000"),
        ("MUSICGEN_THREADS", "-1"),
        ("MUSICGEN_DEVICE", "tpu"),
        ("MUSICGEN_DEVICE", "cuda:one"),
        ("MUSICGEN_DTYPE", "float8"),
        ("MUSICGEN_MAX_MODELS", "0"),
        ("MUSICGEN_MAX_MODELS", "17"),
        ("MUSICGEN_MAX_WAITING", "1.5"),
        ("MUSICGEN_AUDIOCRAFT_PYTHON", "/no/such/python"),
        ("MUSICGEN_CACHE", __file__),
    ],
)
def test_a_senseless_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=f"{name} must be .*{value}"):
        Settings.from_environment({name: value})


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1", "mps"])
def test_devices_are_written_as_torch_writes_them(device: str) -> None:
    assert Settings.from_environment({"MUSICGEN_DEVICE": f" {device.upper()} "}).device == device
