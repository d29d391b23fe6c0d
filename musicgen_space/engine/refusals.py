"""Why the hub says no, in words for people, with what helps. No token is ever shown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

__all__ = ["refusal"]

_LOG_IN = "`hf auth login` or the environment variable HF_TOKEN"
_MEANWHILE = "musicgen-nano needs no download."


def refusal(repo_id: str, error: BaseException) -> str | None:
    """What the hub has against giving ``repo_id``; None where it wasn't the hub that failed."""
    for cause in _causes(error):
        if isinstance(cause, HFValidationError):
            return _no_model(repo_id)
        if isinstance(cause, OfflineModeIsEnabled):
            return (
                f"{repo_id} is not on this machine, and nothing is downloaded while "
                f"HF_HUB_OFFLINE is set. Set it to 0 and try again; {_MEANWHILE}"
            )
        if isinstance(cause, HfHubHTTPError):
            return _answered(repo_id, cause)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came of: the hub's client wraps the hub's answers in its own."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _answered(repo_id: str, error: HfHubHTTPError) -> str:
    status, page = error.response.status_code, f"{constants.ENDPOINT}/{repo_id}"
    with_token = "authorization" in error.response.request.headers
    if isinstance(error, GatedRepoError):
        return _gated(repo_id, page, with_token)
    if isinstance(error, DisabledRepoError):
        return f"The hub has disabled {repo_id}: nobody can download it. {_MEANWHILE}"
    if status == 401 and with_token:
        return (
            "The hub does not accept this machine's access token (401): it is wrong or has "
            f"expired. Make a new one at {constants.ENDPOINT}/settings/tokens and give it by "
            f"{_LOG_IN}. Public models need none: `hf auth logout`, or unset HF_TOKEN."
        )
    if status == 404 or isinstance(error, RepositoryNotFoundError):
        return _no_model(repo_id)
    if status == 403 and with_token:
        return (
            f"This machine's access token may not read {repo_id} (403). Give it the right to at "
            f"{constants.ENDPOINT}/settings/tokens, or use another by {_LOG_IN}."
        )
    if status == 429:
        return (
            f"The hub has had too many requests from here (429). Try again {_when(error)}; "
            f"who is logged in, by {_LOG_IN}, may ask more often. {_MEANWHILE}"
        )
    if status >= 500:
        return (
            f"The hub is out of order ({status}), so {repo_id} can't be downloaded now. Try again "
            f"in a few minutes, https://status.huggingface.co tells more. {_MEANWHILE}"
        )
    return f"The hub refuses to give {repo_id} (HTTP {status}). Its page may say why: {page}"


def _gated(repo_id: str, page: str, with_token: bool) -> str:
    how = (
        "with the account of this machine's access token"
        if with_token
        else f"with your account, then log in here by {_LOG_IN}"
    )
    return f"{repo_id} asks you to accept its licence first: do so at {page} {how}."


def _no_model(repo_id: str) -> str:
    return (
        f"There is no model {repo_id!r} on the hub, or it is private: check the name. Private ones "
        f"need an access token, by {_LOG_IN}, that may read them."
    )


def _when(error: HfHubHTTPError) -> str:
    """When it can be asked again; both headers count the seconds until then.

    https://huggingface.co/docs/hub/rate-limits
    """
    headers = error.response.headers
    resets = re.search(r"\bt=(\d+)", headers.get("RateLimit", ""))
    seconds = resets[1] if resets else headers.get("Retry-After", "")
    return f"in {seconds} seconds" if seconds.isdecimal() else "in a few minutes"
