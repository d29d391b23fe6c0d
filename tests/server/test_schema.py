"""The OpenAPI description is true: whatever is sent, nothing comes that isn't in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis
import schemathesis

from musicgen_space.request import CLIP_LIMITS
from tests.server.fixtures import serving_api, settings_in

BOUNDED = hypothesis.settings(
    max_examples=8, database=None, suppress_health_check=[*hypothesis.HealthCheck], derandomize=True
)


def test_every_answer_is_as_described(tmp_path: Path) -> None:
    """Never a 5xx, either."""
    with serving_api(settings_in(tmp_path, api_price=0.0, api_waiting=10_000)) as api:
        api.studio.most_seconds = 1.0
        api.studio.go.set()
        key = api.service.keys.add("anything", ["music", "metrics"], per_minute=10_000)[1]
        document = api.get("/openapi.json").json()
        without_clips(document)
        described = schemathesis.openapi.from_dict(document)
        described.config.update(base_url=api.url)
        operations = [each.ok() for each in described.get_all_operations()]
        for operation in operations:
            check(operation, {"x-api-key": key})
        assert len(operations) == 11


def without_clips(document: dict[str, Any]) -> None:
    """No text that is made up is a sound file."""
    for path in document["paths"].values():
        for content in path.get("post", {}).get("requestBody", {}).get("content", {}).values():
            for name in CLIP_LIMITS:
                del content["schema"]["properties"][name]


def check(operation: Any, headers: dict[str, str]) -> None:
    @BOUNDED
    @hypothesis.given(case=operation.as_strategy())
    def answers(case: Any) -> None:
        case.call_and_validate(headers=headers)

    answers()
