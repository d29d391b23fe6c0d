"""What the page's scripts make, in English, of what the server says: ``told`` in translate.js."""

from __future__ import annotations

import re
from typing import Any

PLACE = re.compile(r"\{(\w+)(:[^}]*)?\}")


def told(said: Any) -> str:
    """A message as JSON, a text or a list of both."""
    if isinstance(said, list):
        return " · ".join(map(told, said))
    if isinstance(said, str):
        return said
    return PLACE.sub(lambda place: told(said["values"][place[1]]), said["id"])
