"""A Space on the hub: made, given its files, changed. All that can go wrong there is told here.

The hub's client finds the access token itself; it is never in what is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi, RepoCard, Volume, constants
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from yaml import YAMLError

from musicgen_space.deploy.files import Readme, write_space
from musicgen_space.deploy.wish import ZERO_GPU, Wish
from musicgen_space.errors import DeployFailed

__all__ = ["put_on_hub"]

# What goes wrong on the way: of its HTTP library, which depends on its version, and of the one
# that uploads large files.
_UNREACHABLE: tuple[type[Exception], ...] = (
    *(each for each in HfHubHTTPError.__bases__ if each is not OSError),
    *(ConnectionError, LocalEntryNotFoundError, RuntimeError, UnicodeEncodeError),
)
_MOUNTED = "/data"
_LIBRARY = "MUSICGEN_LIBRARY"
_OURS = "musicgen_space/__init__.py"
_OF_EVERY_SPACE = {".gitattributes", "README.md"}
_LOG_IN = (
    "The hub does not know you: run `hf auth login`, or set HF_TOKEN, with an access token that "
    "may write. {hub}/settings/tokens makes one."
)
_PAY = (
    "The hub wants to be paid for {name} on {hardware} (402). Without a paid plan, --hardware "
    "zero-gpu is what works: two Spaces for an account that is older than 30 days and has a "
    "verified e-mail address."
)
_MAY_NOT = (
    "This account may not do that with {name} (403): the access token must be allowed to write, "
    "and {owner} must be you or an organisation of yours. Without a paid plan, only --hardware "
    "zero-gpu is allowed."
)
_OTHER = "The hub refuses {name} (HTTP {status})."
_TEMPLATES = {401: _LOG_IN, 402: _PAY, 403: _MAY_NOT}
_EXISTS = "{name} exists already. --update gives it the files of this version."
_NOT_OURS = (
    "{name} exists already and is another program. Choose another name, or delete it at "
    "{hub}/spaces/{name}/settings."
)
_UNREADABLE = (
    "The README.md of {name} has no header that can be read: mend it, or delete the file, at "
    "{hub}/spaces/{name}/tree/main."
)


def put_on_hub(wish: Wish, say: Callable[[str], None]) -> str:
    """Make the Space, or update it; → its address.

    Raises ``DeployFailed``. What is done is said in a line each.
    """
    with _told(wish), TemporaryDirectory(prefix="musicgen-space-") as parent:
        api = HfApi()
        api.whoami()
        there = _is_there(api, wish)
        hardware = wish.flavor or (_hardware(api, wish) if there else ZERO_GPU)
        folder = Path(parent) / "space"
        owners = _readme(api, wish, Path(parent)) if there and wish.update else None
        write_space(folder, wish.name, hardware, owners)
        if wish.bucket:
            api.create_bucket(wish.bucket_id, private=True, exist_ok=True)
        if there:
            _change(api, wish)
        else:
            _create(api, wish, hardware)
        say(f"{wish.name} is on {hardware}, its takes {_kept(wish, there)}.")
        _upload(api, wish, folder, say)
    return f"{constants.ENDPOINT}/spaces/{wish.name}"


def _upload(api: HfApi, wish: Wish, folder: Path, say: Callable[[str], None]) -> None:
    files = [file for file in folder.rglob("*") if file.is_file()]
    say(f"Uploading {len(files)} files, {sum(each.stat().st_size for each in files) / 1e6:.0f} MB.")
    api.upload_folder(
        repo_id=wish.name,
        repo_type="space",
        folder_path=folder,
        delete_patterns=["musicgen_space/*"],  # what another version had and this one hasn't
        commit_message="MusicGen Space",
    )


def _kept(wish: Wish, there: bool) -> str:
    """Where takes are kept, in words."""
    if wish.bucket:
        return f"in the bucket {wish.bucket_id}"
    return "where they were" if there else "until it restarts: --bucket keeps them"


def _is_there(api: HfApi, wish: Wish) -> bool:
    """Whether there is such a Space; raises ``DeployFailed`` for one that is not to be changed."""
    try:
        files = {*api.list_repo_files(wish.name, repo_type="space")}
    except RepositoryNotFoundError as error:
        if error.response.status_code == 404:
            return False
        raise
    if _OURS not in files and files - _OF_EVERY_SPACE:
        raise DeployFailed(_NOT_OURS.format(name=wish.name, hub=constants.ENDPOINT))
    if _OURS in files and not wish.update:
        raise DeployFailed(_EXISTS.format(name=wish.name))
    return True


def _readme(api: HfApi, wish: Wish, folder: Path) -> Readme:
    """The README that the Space has; raises ``DeployFailed`` for one that can't be read.

    The hardware that is wished for goes before what its header suggests.
    """
    try:
        file = api.hf_hub_download(wish.name, "README.md", repo_type="space", local_dir=folder)
    except RemoteEntryNotFoundError:
        return Readme()
    try:
        card = RepoCard(Path(file).read_text(encoding="utf-8"))
    except (TypeError, ValueError, YAMLError):
        words = _UNREADABLE.format(name=wish.name, hub=constants.ENDPOINT)
        raise DeployFailed(words) from None
    header = card.data.to_dict()  # type: ignore[no-untyped-call]
    if wish.flavor:
        header.pop("suggested_hardware", None)
    return Readme(header, card.text)


def _hardware(api: HfApi, wish: Wish) -> str:
    """What the hub runs the Space on."""
    runtime = api.get_space_runtime(wish.name)
    return str(runtime.requested_hardware or runtime.hardware or ZERO_GPU)


def _create(api: HfApi, wish: Wish, hardware: str) -> None:
    api.create_repo(
        wish.name,
        repo_type="space",
        space_sdk="gradio",
        space_hardware=hardware,  # type: ignore[arg-type]  # its name will do, says its docstring
        private=wish.private or None,
        space_variables=[{"key": _LIBRARY, "value": _MOUNTED}] if wish.bucket else None,
        space_volumes=[_volume(wish)] if wish.bucket else None,
    )


def _change(api: HfApi, wish: Wish) -> None:
    """Change what is wished for; the rest stays as the owner has it."""
    if wish.flavor:
        api.request_space_hardware(wish.name, wish.flavor)  # type: ignore[arg-type]
    if wish.bucket:
        volumes = api.get_space_runtime(wish.name).volumes or []
        others = [each for each in volumes if each.mount_path != _MOUNTED]
        api.set_space_volumes(wish.name, [*others, _volume(wish)])
        api.add_space_variable(wish.name, _LIBRARY, _MOUNTED)


def _volume(wish: Wish) -> Volume:
    return Volume(type="bucket", source=wish.bucket_id, mount_path=_MOUNTED)


@contextmanager
def _told(wish: Wish) -> Iterator[None]:
    """Raise what the hub's client raises as ``DeployFailed``."""
    try:
        yield
    except LocalTokenNotFoundError:
        raise DeployFailed(_LOG_IN.format(hub=constants.ENDPOINT)) from None
    except OfflineModeIsEnabled:
        raise DeployFailed("Nothing is sent while HF_HUB_OFFLINE is set: set it to 0.") from None
    except HfHubHTTPError as error:
        raise DeployFailed(_refusal(wish, error)) from None
    except _UNREACHABLE as error:
        # Not in its own words: those of a header that can't be sent have the token.
        reason = type(error).__name__
        raise DeployFailed(f"{constants.ENDPOINT} can't be reached ({reason}).") from None


def _refusal(wish: Wish, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    told = _TEMPLATES.get(status, _OTHER).format(
        name=wish.name,
        owner=wish.name.partition("/")[0],
        hardware=wish.flavor or ZERO_GPU,
        status=status,
        hub=constants.ENDPOINT,
    )
    words = error.server_message or ""
    return f"{told} The hub says: {' '.join(words.split())[:300]}" if words else told
