from __future__ import annotations

from pathlib import Path

import pytest

from musicgen_space.errors import InvalidSetting
from musicgen_space.settings import Settings


def test_an_empty_environment_gives_the_defaults_and_a_library() -> None:
    library, config = (
        Path.home() / folder / "musicgen-space" for folder in (".local/share", ".config")
    )
    settings = Settings.from_environment({})
    assert settings == Settings(library=library, config=config, database=settings.database)
    assert settings.database == f"sqlite:///{library}/server.db"


def test_a_space_listens_on_every_address() -> None:
    assert Settings.from_environment({"SPACE_ID": "someone/space"}).host == "0.0.0.0"
    assert Settings.from_environment({}).host == "127.0.0.1"


@pytest.mark.parametrize(
    ("given", "host", "url", "strangers"),
    [
        ("", "127.0.0.1", "http://127.0.0.1:7860", False),
        (" ", "127.0.0.1", "http://127.0.0.1:7860", False),
        ("localhost", "localhost", "http://localhost:7860", False),
        ("127.0.0.9", "127.0.0.9", "http://127.0.0.9:7860", False),
        ("::1", "::1", "http://[::1]:7860", False),
        (" [::1] ", "::1", "http://[::1]:7860", False),
        ("0:0:0:0:0:0:0:1", "::1", "http://[::1]:7860", False),
        ("0.0.0.0", "0.0.0.0", "http://127.0.0.1:7860", True),
        ("::", "::", "http://[::1]:7860", True),
        ("[::]", "::", "http://[::1]:7860", True),
        ("192.168.1.5", "192.168.1.5", "http://192.168.1.5:7860", True),
        ("FD00::5", "fd00::5", "http://[fd00::5]:7860", True),
        ("studio.local", "studio.local", "http://studio.local:7860", True),
    ],
)
def test_the_page_is_served_at_an_address_in_any_spelling(
    given: str, host: str, url: str, strangers: bool
) -> None:
    settings = Settings.from_environment({"GRADIO_SERVER_NAME": given})
    assert (settings.host, settings.url, settings.strangers) == (host, url, strangers)
    assert (settings.visitor_bytes is not None) == strangers


def test_an_empty_address_on_a_space_means_every_one() -> None:
    environ = {"SPACE_ID": "someone/space", "GRADIO_SERVER_NAME": ""}
    assert Settings.from_environment(environ).host == "0.0.0.0"


def test_proxies_are_addresses_and_networks_in_any_spelling() -> None:
    settings = Settings.from_environment({"MUSICGEN_PROXIES": "10.1.2.3/8, ::1,, 127.0.0.1"})
    assert settings.proxies == ("10.0.0.0/8", "::1/128", "127.0.0.1/32")
    assert Settings.from_environment({}).proxies == ()


@pytest.mark.parametrize(
    ("given", "root_path"),
    [
        ("", ""),
        ("/", ""),
        ("/music/", "/music"),
        ("https://a.example/b/c", "https://a.example/b/c"),
    ],
)
def test_the_page_may_be_below_a_path(given: str, root_path: str) -> None:
    assert Settings.from_environment({"GRADIO_ROOT_PATH": given}).root_path == root_path


@pytest.mark.parametrize("name", ["GRADIO_ROOT_PATH", "MUSICGEN_PROXIES"])
def test_who_has_a_proxy_in_front_of_the_page_is_not_alone(name: str) -> None:
    settings = Settings.from_environment({name: "/music" if "PATH" in name else "127.0.0.1"})
    assert settings.strangers
    assert settings.host == "127.0.0.1"


def test_of_the_line_a_visitor_has_a_part_and_the_owner_alone_all() -> None:
    environ = {"MUSICGEN_MAX_WAITING": "9", "MUSICGEN_VISITOR_WAITING": "2"}
    assert Settings.from_environment(environ).waiting_each == 9
    public = environ | {"GRADIO_SERVER_NAME": "0.0.0.0"}
    assert Settings.from_environment(public).waiting_each == 2


def test_a_space_chooses_its_model_by_its_gpu_unless_one_is_named(tmp_path: Path) -> None:
    assert Settings.from_environment({}).model is None
    for there in ({"SPACE_ID": "someone/space"}, {"SPACES_ZERO_GPU": "true"}):
        assert Settings.from_environment(there).model == "auto"
        for named in (str(tmp_path), "facebook/musicgen-large", "musicgen-nano"):
            environ = {**there, "MUSICGEN_MODEL": f" {named} "}
            assert Settings.from_environment(environ).model == named


def test_models_are_separated_by_commas() -> None:
    environ = {"MUSICGEN_MODELS": " ./mine , facebook/musicgen-small,"}
    assert Settings.from_environment(environ).models == ("./mine", "facebook/musicgen-small")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GRADIO_SERVER_NAME", "http://0.0.0.0"),
        ("GRADIO_SERVER_NAME", "127.0.0.1:7860"),
        ("GRADIO_SERVER_NAME", "fe80::1%eth0"),
        ("GRADIO_SERVER_NAME", "-"),
        ("GRADIO_SERVER_PORT", "http"),
        ("GRADIO_ROOT_PATH", "music"),
        ("GRADIO_ROOT_PATH", "/my music"),
        ("GRADIO_ROOT_PATH", "ftp://a.example/music"),
        ("GRADIO_ROOT_PATH", "/music#top"),
        ("GRADIO_SERVER_PORT", "70000"),
        ("MUSICGEN_MODEL", "musicgen-nano,./mine"),
        ("MUSICGEN_MODEL", "musicgen-smal"),
        ("MUSICGEN_MODEL", "/no/such/folder"),
        ("MUSICGEN_MODEL", __file__),
        ("MUSICGEN_THREADS", "-1"),
        ("MUSICGEN_DEVICE", "tpu"),
        ("MUSICGEN_DEVICE", "cuda:one"),
        ("MUSICGEN_DTYPE", "float8"),
        ("MUSICGEN_MAX_MODELS", "0"),
        ("MUSICGEN_MAX_MODELS", "17"),
        ("MUSICGEN_MAX_WAITING", "1.5"),
        ("MUSICGEN_VISITOR_WAITING", "-1"),
        ("MUSICGEN_PROXIES", "10.0.0.0/99"),
        ("MUSICGEN_PROXIES", "nginx"),
        ("MUSICGEN_AUDIOCRAFT_PYTHON", "/no/such/python"),
        ("MUSICGEN_LIBRARY", __file__),
        ("MUSICGEN_LIBRARY_BUCKET", "s3"),
        ("MUSICGEN_LIBRARY_MB", "0"),
        ("MUSICGEN_VISITOR_MB", "-5"),
        ("MUSICGEN_CACHE", __file__),
        ("GRADIO_TEMP_DIR", __file__),
    ],
)
def test_a_senseless_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=f"{name} must be .*{value}"):
        Settings.from_environment({name: value})


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1", "mps"])
def test_devices_are_written_as_torch_writes_them(device: str) -> None:
    assert Settings.from_environment({"MUSICGEN_DEVICE": f" {device.upper()} "}).device == device


def test_the_library_is_where_it_is_wanted_or_nowhere(tmp_path: Path) -> None:
    assert library({"MUSICGEN_LIBRARY": " OFF "}) is None
    assert library({"MUSICGEN_LIBRARY": f" {tmp_path}/new "}) == tmp_path / "new"
    assert library({"MUSICGEN_LIBRARY": "~/music"}) == Path.home() / "music"
    assert library({"XDG_DATA_HOME": "/mine"}) == Path("/mine/musicgen-space")
    assert library({"XDG_DATA_HOME": "relative"}) == library({})


def test_a_space_takes_its_library_for_a_bucket() -> None:
    space = {"SPACE_ID": "someone/space"}
    assert library(space) == library({})
    assert Settings.from_environment(space).library_bucket
    assert not Settings.from_environment(space | {"MUSICGEN_LIBRARY_BUCKET": "0"}).library_bucket
    assert not Settings.from_environment({}).library_bucket
    assert Settings.from_environment({"MUSICGEN_LIBRARY_BUCKET": "1"}).library_bucket


def test_a_visitor_has_a_share_of_the_library_where_there_may_be_others() -> None:
    environ = {"MUSICGEN_VISITOR_MB": "3", "MUSICGEN_LIBRARY_MB": "7"}
    assert Settings.from_environment(environ).visitor_bytes is None
    settings = Settings.from_environment(environ | {"GRADIO_SERVER_NAME": "0.0.0.0"})
    assert settings.visitor_bytes == 3 * 2**20
    assert settings.library_bytes == 7 * 2**20


def library(environ: dict[str, str]) -> Path | None:
    return Settings.from_environment(environ).library
