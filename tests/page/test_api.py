"""What other programs can call: over real HTTP, with Gradio's own client and with MCP's."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import re
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import numpy as np
import pytest
import soundfile
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from mcp.types import CallToolResult

from musicgen_space.audio.clips import decode
from musicgen_space.audio.files import read_settings
from musicgen_space.audio.sniff import format_of
from musicgen_space.page.billing.spending import Spending
from musicgen_space.page.page import launch_options
from musicgen_space.page.programs.api import Programs
from musicgen_space.page.visitors.made_files import MadeFiles
from musicgen_space.request import LIMITS, MAX_PROMPT_CHARACTERS
from musicgen_space.settings import Settings
from tests.page.test_session import Home, visitor
from tests.servers.app import serving
from tests.servers.segmind import KEY, Segmind, running

SECOND = {"duration": 1, "api_name": "/generate"}
BY_HEADER = {"x-segmind-key": KEY}
ELSEWHERE = handle_file("http://sounds.invalid/tone.wav")


@pytest.fixture(scope="module")
def segmind() -> Segmind:
    return Segmind()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app") / "log"


@pytest.fixture(scope="module")
def address(segmind: Segmind, log: Path) -> Iterator[str]:
    """A page where nobody waits: while a take is made, every other one is refused."""
    settings = {"MUSICGEN_AT_ONCE": "1", "MUSICGEN_MAX_WAITING": "0", "HF_HUB_OFFLINE": "1"}
    with running(segmind) as api, serving(log, SEGMIND_BASE_URL=api, **settings) as url:
        yield url


@pytest.fixture(scope="module")
def client(address: str) -> Client:
    return Client(address, verbose=False)


@pytest.fixture
def tone(tmp_path: Path) -> str:
    """Two seconds of a tone, as a file."""
    seconds = np.arange(2 * 32000) / 32000
    soundfile.write(tmp_path / "tone.wav", 0.5 * np.sin(2 * np.pi * 220 * seconds), 32000)
    return str(tmp_path / "tone.wav")


def test_a_line_of_text_becomes_a_file_and_facts(client: Client) -> None:
    file, made = client.predict("jazz", seed=7, format="flac", **SECOND)
    data = Path(file).read_bytes()
    assert format_of(data) == made["format"] == "flac"
    assert decode(data)[0].shape == (made["channels"], made["sample_rate"])
    settings = read_settings(data)
    assert settings is not None
    for facts in (settings, made):
        assert (facts["prompt"], facts["seed"]) == ("jazz", 7)
        assert (facts["model"], facts["backend"]) == ("musicgen-nano", "local")
    assert made["duration"] == 1
    assert made["warnings"] == []
    assert made["real_time_factor"] == pytest.approx(1 / made["seconds_taken"], rel=0.01)


def test_the_files_of_programs_are_kept_within_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr("musicgen_space.page.programs.api.MadeFiles", partial(MadeFiles, 100_000))

    async def files_of(*prompts: str) -> list[Path]:
        with gr.Blocks() as page:  # in here: it takes the running event loop, or leaves one open
            Programs({"home": Home()}, Spending(Settings())).offer(page)
        endpoint = next(each for each in page.fns.values() if each.api_name == "generate")
        _, *others = inspect.signature(endpoint.fn).parameters.values()
        defaults = [visitor() if each.name == "request" else each.default for each in others]
        answers = [
            [answer async for answer in endpoint.fn(prompt, *defaults)][-1] for prompt in prompts
        ]
        return [Path(file["path"]) for file, _ in answers]

    first, second = asyncio.run(files_of("jazz", "techno"))
    assert second.stat().st_size > 60_000
    assert not first.exists()


def test_a_seed_that_is_drawn_is_told(client: Client) -> None:
    _, made = client.predict("jazz", seed=-1, **SECOND)
    assert 0 <= made["seed"] <= LIMITS["seed"].maximum


def test_only_these_endpoints_are_public_and_their_limits_are_the_one_definition(
    client: Client,
) -> None:
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert sorted(endpoints) == ["/generate", "/models"]
    parameters = {each["parameter_name"]: each for each in endpoints["/generate"]["parameters"]}
    for name, limit in LIMITS.items():
        if name == "variations":
            continue
        given = parameters[name]
        assert (given["type"]["minimum"], given["type"]["maximum"]) == (
            limit.minimum,
            limit.maximum,
        )
        assert given["parameter_default"] == limit.default
        assert given["python_type"]["type"] == ("int" if limit.whole else "float")
        assert limit.range in given["python_type"]["description"]
    assert parameters["prompt"]["type"]["maxLength"] == MAX_PROMPT_CHARACTERS
    assert "segmind" not in parameters  # a key is a header, never an argument


def test_models_are_listed_by_backend(client: Client) -> None:
    models = client.predict(api_name="/models")
    assert models[0]["model"] == "musicgen-nano"
    assert {each["backend"] for each in models} == {"local", "segmind"}


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"prompt": " "}, "prompt must not be empty"),
        ({"prompt": 7}, "prompt must be text, got 7."),
        ({"prompt": "x" * 1001}, "prompt must be at most 1000 characters"),
        ({"duration": 301}, "duration must be a number from 1 to 300 seconds, got 301."),
        ({"duration": "long"}, "duration must be a number from 1 to 300 seconds, got 'long'."),
        ({"duration": 31, "backend": "segmind"}, "from 1 to 30 seconds on Segmind, got 31."),
        ({"seed": 10**30}, "seed must be a whole number from -1 to 9999, got 1000"),
        ({"seed": None}, "seed must be a whole number"),
        ({"negative_prompt": ["<b>"]}, "negative_prompt must be text"),
        ({"backend": "mine"}, "backend must be one of ['local', 'segmind'], got 'mine'."),
        ({"backend": {}}, "backend must be one of"),
        ({"model": "../../etc"}, "model must be one of ['musicgen-nano', "),
        ({"model": 7}, "model must be one of"),
        ({"format": "exe"}, "format must be one of ['wav', 'flac', 'ogg', 'mp3'], got 'exe'."),
        ({"format": ["wav"]}, "format must be one of"),
        ({"backend": "segmind"}, "send yours in the header x-segmind-key"),
        ({"backend": "segmind", "top_k": 7}, "top_k can't be chosen on Segmind, got 7."),
        ({"continue_from": "/etc/passwd"}, "continue_from must be a file that was uploaded"),
        ({"continue_from": {"path": "/etc/passwd"}}, "must be a file that was uploaded"),
        ({"melody": 7}, "melody needs a melody model, such as facebook/musicgen-melody"),
        ({"melody": ELSEWHERE}, "Files are not fetched from other addresses, got 'http://"),
        ({"prompt": ELSEWHERE}, "Files are not fetched from other addresses, got 'http://"),
    ],
)
def test_what_is_wrong_is_said_by_field_value_and_limit(
    client: Client, wish: dict[str, Any], message: str
) -> None:
    with pytest.raises(AppError, match=re.escape(message)):
        client.predict(**{"prompt": "jazz", **SECOND, **wish})


def test_no_file_of_the_server_can_be_had(address: str) -> None:
    for meta in ({}, {"meta": {"_type": "gradio.FileData"}}):
        for path in ("/etc/passwd", "app.py", "/proc/self/environ"):
            answer = asked(address, {"prompt": "jazz", "continue_from": {"path": path, **meta}})
            assert "event: error" in answer
            assert "root:" not in answer
            assert "Traceback" not in answer


def test_ones_own_sound_is_continued(client: Client, tone: str) -> None:
    file, made = client.predict("jazz", continue_from=handle_file(tone), **SECOND)
    assert made["duration"] == pytest.approx(3)
    settings = read_settings(Path(file).read_bytes())
    assert settings is not None
    assert settings["continue_from"]["name"] == "tone.wav"


def test_an_address_of_a_file_stands_for_what_the_page_serves_and_no_more(address: str) -> None:
    served = f"{address}/gradio_api/file="
    for path in ("/etc/passwd", "", "%00", "/etc", "../" * 9 + "etc/passwd"):
        wish = {"prompt": "jazz", "continue_from": handle_file(served + path)}
        assert "event: error" in asked(address, wish)


def test_a_file_that_is_no_sound_is_told(client: Client, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"no sound at all")
    with pytest.raises(AppError, match="continue_from: This is text and no sound"):
        client.predict("jazz", continue_from=handle_file(tmp_path / "bad.wav"), **SECOND)


def test_cancelling_stops_the_take(client: Client) -> None:
    job = client.submit("jazz", duration=300, api_name="/generate")
    until(lambda: job.status().progress_data, seconds=20)
    with pytest.raises(AppError, match="The queue is full"):
        client.predict("techno", **SECOND)
    job.cancel()
    until(lambda: is_free(client), seconds=5)


def test_a_client_that_is_gone_stops_its_take(address: str, client: Client) -> None:
    url = begun(address, {"prompt": "jazz", "duration": 300})
    with httpx.stream("GET", url, timeout=30) as answer:
        line = next(line for line in answer.iter_lines() if "real time" in line)
    assert json.loads(line.removeprefix("data: "))[0] is None
    until(lambda: is_free(client), seconds=10)


def test_plain_http_is_enough(address: str) -> None:
    answer = asked(address, {"prompt": "jazz", "duration": 1})
    done = answer.split("event: complete\ndata: ")[1]
    file, made = json.loads(done)
    assert made["status"] == "Done"
    assert format_of(httpx.get(file["url"]).content) == "wav"


def test_the_examples_that_the_page_gives_of_its_inputs_make_a_take(address: str) -> None:
    """By place, as the hub's agents.md has it."""
    info = httpx.get(f"{address}/gradio_api/info").json()["named_endpoints"]["/generate"]
    assert info["description"].startswith("Turn a line of text into music.")
    fields = info["parameters"]
    given = [1 if each["label"] == "duration" else each["example_input"] for each in fields]
    calls = f"{address}/gradio_api/call/generate"
    event = httpx.post(calls, json={"data": given}).json()["event_id"]
    assert '"status": "Done"' in httpx.get(f"{calls}/{event}", timeout=60).text


def test_a_hosted_take_is_paid_by_the_key_in_the_header(address: str, segmind: Segmind) -> None:
    segmind.forget()
    paying = Client(address, headers=BY_HEADER, verbose=False)
    _, made = paying.predict("jazz", backend="segmind", **SECOND)
    assert (made["model"], made["backend"]) == ("meta-musicgen-medium", "segmind")
    assert (made["cost"], made["credits_left"]) == (0.037, 9.963)
    assert segmind.accounts[KEY].billed == 1
    with pytest.raises(AppError) as caught:
        paying.predict("jazz #echo", backend="segmind", **SECOND)
    assert KEY not in str(caught.value)


def test_mcp_offers_these_tools_with_their_limits(address: str) -> None:
    tools = by_mcp(address, lambda session: session.list_tools()).tools
    assert [tool.name for tool in tools] == ["generate_music", "list_models"]
    fields = tools[0].inputSchema["properties"]
    assert tools[0].inputSchema["required"] == ["prompt"]
    assert (fields["duration"]["minimum"], fields["duration"]["maximum"]) == (1, 300)
    assert fields["duration"]["description"].startswith("1 to 300 seconds")
    assert "extend_to" not in fields
    assert fields["melody"]["type"] == "string"  # an address
    assert not any("key" in name for name in fields)


def test_mcp_makes_music(address: str) -> None:
    result = call(address, prompt="jazz", duration=1)
    [file] = re.findall(r"http://\S+?\.wav", shown(result))
    assert format_of(httpx.get(file).content) == "wav"
    assert "'seed': 42" in shown(result)


def test_mcp_goes_on_from_what_it_made_and_from_a_file_that_it_brings(
    address: str, tone: str
) -> None:
    [made] = re.findall(r"http://\S+?\.wav", shown(call(address, prompt="jazz", duration=1)))
    brought = "data:audio/wav;base64," + b64encode(Path(tone).read_bytes()).decode()
    for file, seconds in [(made, 2), (brought, 3)]:
        result = call(address, prompt="jazz", duration=1, continue_from=file)
        assert f"'duration': {seconds}" in shown(result)


def test_a_sound_that_was_made_quieter_is_told_of_with_the_take(
    client: Client, tmp_path: Path
) -> None:
    loud = tmp_path / "loud.wav"
    tone = 3.6 * np.sin(np.arange(32_000) / 20)
    soundfile.write(loud, tone, 32_000, subtype="FLOAT")
    _, made = client.predict("jazz", continue_from=handle_file(loud), **SECOND)
    [warning] = made["warnings"]
    assert warning.startswith("continue_from: ")


def test_what_the_model_can_not_read_comes_with_the_take(client: Client) -> None:
    _, made = client.predict("jazz 音乐", negative_prompt="鼓", **SECOND)
    first, second = made["warnings"]
    assert first == "prompt: The model does not know: 音乐"
    assert second.startswith("negative_prompt: The model knows nothing of this")


def test_mcp_is_told_what_is_wrong(address: str) -> None:
    for wish, words in [
        ({"prompt": "jazz", "duration": 301}, "301 is greater than the maximum of 300"),
        ({"prompt": " "}, "prompt must not be empty"),
    ]:
        result = call(address, **wish)
        assert result.isError
        assert words in shown(result)


def test_mcp_pays_with_the_key_in_the_header(address: str, segmind: Segmind) -> None:
    segmind.forget()
    wish = {"prompt": "jazz", "duration": 1, "backend": "segmind"}
    result = call(address, headers=BY_HEADER, **wish)
    assert segmind.accounts[KEY].billed == 1
    assert KEY not in shown(result)
    assert "x-segmind-key" in shown(call(address, **wish))  # is not kept for the next one


def test_the_log_has_neither_keys_nor_failures(log: Path) -> None:
    """The last one over HTTP: what all the others have left there."""
    text = log.read_text()
    assert KEY not in text
    assert "A take failed" not in text
    assert "never retrieved" not in text


def test_the_page_is_served_without_the_mcp_library(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch_options()["mcp_server"] is True
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert launch_options()["mcp_server"] is False


def begun(address: str, wish: dict[str, Any]) -> str:
    """Ask for a take as curl would; → where its answer comes."""
    calls = f"{address}/gradio_api/call/v2/generate"
    return f"{calls}/{httpx.post(calls, json=wish).json()['event_id']}"


def asked(address: str, wish: dict[str, Any]) -> str:
    return httpx.get(begun(address, wish), timeout=60).text


def is_free(client: Client) -> bool:
    """Whether a take is made at once, since no other one is."""
    try:
        client.predict("techno", **SECOND)
    except AppError:
        return False
    return True


def until(came: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not came():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def by_mcp(
    address: str,
    ask: Callable[[ClientSession], Awaitable[Any]],
    headers: dict[str, str] | None = None,
) -> Any:
    """What an MCP client gets over streamable HTTP."""

    async def conversation() -> Any:
        url = f"{address}/gradio_api/mcp/"
        async with (
            create_mcp_http_client(headers=headers) as http,
            streamable_http_client(url, http_client=http) as (reading, writing, _),
            ClientSession(reading, writing) as session,
        ):
            await session.initialize()
            return await ask(session)

    return asyncio.run(conversation())


def call(address: str, headers: dict[str, str] | None = None, **wish: Any) -> CallToolResult:
    result: CallToolResult = by_mcp(
        address, lambda session: session.call_tool("generate_music", wish), headers
    )
    return result


def shown(result: CallToolResult) -> str:
    return " ".join(part.text for part in result.content if part.type == "text")
