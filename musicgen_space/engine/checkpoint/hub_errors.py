"""User-facing explanations of the hub's errors, with a remedy each. They never show a token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from json import JSONDecodeError

from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

__all__ = ["explain_hub_error"]

_LOG_IN = "`hf auth login` or the environment variable HF_TOKEN"
_OFFLINE = (
    "{model} is not on this machine, and nothing is downloaded while HF_HUB_OFFLINE is set. "
    "Set it to 0 and try again, or choose musicgen-nano, which needs no download."
)
_NO_HUB = (
    "{model} can't be downloaded: what answers is not the hub. Some networks want you to log in "
    "to them first, in a browser."
)
_NO_TOKEN = (
    "This machine's access token for the hub has characters in it that none has. Copy it again "
    f"from {{hub}}/settings/tokens, and give it by {_LOG_IN}."
)
_NO_MODEL = (
    "There is no model '{model}' on the hub, or it is private: check the name. Private ones need "
    f"an access token that may read them, by {_LOG_IN}."
)
_TOKEN_REFUSED = (
    "The hub does not accept this machine's access token (401): it is wrong or has expired. Make "
    f"a new one at {{hub}}/settings/tokens and give it by {_LOG_IN}. Public models need none: "
    "`hf auth logout`, or unset HF_TOKEN."
)
_TOKEN_TOO_WEAK = (
    "This machine's access token may not read {model} (403). Give it the right to at "
    f"{{hub}}/settings/tokens, or another one by {_LOG_IN}."
)
_GATED = (
    "{model} asks you to accept its licence first: do so at {hub}/{model}, with the account "
    "of this machine's access token."
)
_GATED_AND_NO_TOKEN = (
    "{model} asks you to accept its licence first: do so at {hub}/{model} with your account, then "
    f"log in here, by {_LOG_IN}."
)
_DISABLED = "The hub has disabled {model} (403): nobody can download it."
_RATE_LIMITED = (
    "The hub has had too many requests from here (429). Try again {when}; whoever is logged in, "
    f"by {_LOG_IN}, may ask more often."
)
_SERVER_ERROR = (
    "The hub is out of order ({status}), so {model} can't be downloaded now. Try again in a few "
    "minutes: https://status.huggingface.co tells how it is."
)
_OTHER = "The hub does not give {model} (HTTP {status}). {hub}/{model} may say why."


def explain_hub_error(model: str, error: BaseException) -> str | None:
    """Why the hub did not serve ``model``; None if the failure was not the hub's."""
    for cause in _causes(error):
        if isinstance(cause, HfHubHTTPError):
            return _template(cause).format(
                model=model,
                hub=constants.ENDPOINT,
                status=cause.response.status_code,
                when=_when(cause),
            )
        for kind, template in _NO_RESPONSE.items():
            if isinstance(cause, kind):
                return template.format(model=model, hub=constants.ENDPOINT)
    return None


# Errors without a response, or with one that is not the hub's.
_NO_RESPONSE = {
    HFValidationError: _NO_MODEL,
    JSONDecodeError: _NO_HUB,
    OfflineModeIsEnabled: _OFFLINE,
    UnicodeEncodeError: _NO_TOKEN,
}


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes: the hub's client wraps HTTP errors in its own."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _template(error: HfHubHTTPError) -> str:
    status = error.response.status_code
    with_token = "authorization" in error.response.request.headers
    if isinstance(error, GatedRepoError):
        return _GATED if with_token else _GATED_AND_NO_TOKEN
    if isinstance(error, DisabledRepoError):
        return _DISABLED
    # The client raises RepositoryNotFoundError for every 401, because without a token the hub
    # answers 401 for missing and private repositories.
    if status == 401 and with_token:
        return _TOKEN_REFUSED
    if status == 404 or isinstance(error, RepositoryNotFoundError):
        return _NO_MODEL
    if status == 403 and with_token:
        return _TOKEN_TOO_WEAK
    if status == 429:
        return _RATE_LIMITED
    return _SERVER_ERROR if status >= 500 else _OTHER


def _when(error: HfHubHTTPError) -> str:
    """When to retry; headers as in https://huggingface.co/docs/hub/rate-limits."""
    headers = error.response.headers
    resets = re.search(r"\bt=(\d+)", headers.get("RateLimit", ""))
    seconds = resets[1] if resets else headers.get("Retry-After", "")
    return f"in {seconds} s" if seconds.isdecimal() else "in a few minutes"
