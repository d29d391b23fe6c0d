"""The whole recipe at a tiny size: what comes out is a checkpoint for everybody."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from musicgen_space.engine.checkpoint.loader import load
from tests.conftest import TORCH, a_second_of
from training import stages
from training.presets import SMOKE


@pytest.fixture(scope="module")
def smoke(font: Path, tmp_path_factory: pytest.TempPathFactory) -> stages.Run:
    assert font  # or it was skipped: this needs one, too
    run = stages.Run(SMOKE, tmp_path_factory.mktemp("training"))
    stages.run(run)
    return run


def test_the_checkpoint_is_the_same_to_transformers_and_to_us(smoke: stages.Run) -> None:
    """The last stage loads it with both and compares their logits."""
    report = json.loads((smoke.folder / "report.json").read_text())
    assert report["export"]["largest difference of logits"] < 1e-4
    assert a_second_of(load(smoke.product("export") / "checkpoint", TORCH)).shape == (1, 1, 32000)


def test_losses_are_written_and_drawn(smoke: stages.Run) -> None:
    for stage in ("codec", "lm"):
        lines = (smoke.product(stage) / "losses.jsonl").read_text().splitlines()
        assert json.loads(lines[-1])["step"] == 11
        assert (smoke.product(stage) / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_done_is_not_done_again(smoke: stages.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    done = watched(monkeypatch)
    stages.run(smoke)
    assert done == []


def test_a_change_redoes_what_depends_on_it(
    smoke: stages.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = watched(monkeypatch)
    changed = replace(SMOKE, language=replace(SMOKE.language, dropout=0.1))
    stages.run(replace(smoke, preset=changed))
    assert done == ["lm", "export"]


def test_a_stage_can_be_redone(smoke: stages.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    done = watched(monkeypatch)
    stages.run(smoke, redo_from="encode")
    assert done == ["encode", "lm", "export"]


def test_an_interrupted_stage_is_not_done(
    smoke: stages.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(run: stages.Run, folder: Path) -> dict[str, Any]:
        raise KeyboardInterrupt

    broken = [replace(stage, make=fails) for stage in stages.STAGES]
    monkeypatch.setattr(stages, "STAGES", broken)
    run = replace(smoke, preset=replace(SMOKE, shard_megabytes=1))
    with pytest.raises(KeyboardInterrupt):
        stages.run(run)
    done = watched(monkeypatch)
    stages.run(run)
    assert done == ["export"]


def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stages that do nothing but add their names to a list."""
    done: list[str] = []

    def noting(stage: stages.Stage) -> stages.Stage:
        def make(run: stages.Run, folder: Path) -> dict[str, Any]:
            done.append(stage.name)
            return {}

        return replace(stage, make=make)

    monkeypatch.setattr(stages, "STAGES", [noting(stage) for stage in stages.STAGES])
    return done
