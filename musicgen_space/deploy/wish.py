"""What is to be deployed where, checked before anything is sent."""

from __future__ import annotations

import re
from dataclasses import dataclass

from huggingface_hub import SpaceHardware

from musicgen_space.errors import InvalidRequest

__all__ = ["HARDWARE", "ZERO_GPU", "Wish"]

ZERO_GPU = SpaceHardware.ZERO_A10G.value  # the hub's name of it is that of the first GPU it had
# What the page calls a hardware → what the hub does.
HARDWARE = {"zero-gpu": ZERO_GPU} | {each.value: each.value for each in SpaceHardware}
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wish:
    """A Space of the hub; raises ``InvalidRequest``.

    ``hardware`` is "" for what is usual: ZeroGPU for a new Space, what it has for one that is
    updated. ``bucket`` is "" for none, and of the Space's owner unless it names another.
    """

    name: str
    hardware: str = ""
    bucket: str = ""
    private: bool = False
    update: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidRequest("name", self.name, "must be OWNER/SPACE, as in my-name/my-space")
        if self.hardware and self.hardware not in HARDWARE:
            raise InvalidRequest("hardware", self.hardware, f"must be one of {', '.join(HARDWARE)}")
        if self.bucket and not _NAME.fullmatch(self.bucket_id):
            raise InvalidRequest(
                "bucket",
                self.bucket,
                "must be a name, or OWNER/NAME, of letters, digits, - _ and .",
            )

    @property
    def bucket_id(self) -> str:
        """The bucket as the hub calls it; "" for none."""
        owner = self.name.partition("/")[0]
        return self.bucket if "/" in self.bucket or not self.bucket else f"{owner}/{self.bucket}"

    @property
    def flavor(self) -> str:
        """The hardware as the hub calls it; "" for what is usual."""
        return HARDWARE[self.hardware] if self.hardware else ""
