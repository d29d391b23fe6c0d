"""The Python of README and of ``docs/python.md`` runs as it stands there, but for shorter music."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.servers.segmind import KEY, Segmind, running

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "docs" / "python.md"]
OF_A_PAGE = "gradio_client"  # needs one that is served: tests/page/test_api.py calls it


def blocks(page: Path) -> list[str]:
    """The Python of a page, each block at its line, so that an error tells where."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return ["\n" * (text.count("\n", 0, each.start()) + 1) + each[1] for each in found]


def shorter(code: str) -> str:
    """The same with a second of music wherever there are more, but for what is refused."""
    return re.sub(r"\bduration=(?!301\b)\d+", "duration=1", code)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_in_the_documentation_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "documentation"}
    with running(Segmind()) as url:
        monkeypatch.setenv("SEGMIND_BASE_URL", url)
        monkeypatch.setenv("SEGMIND_API_KEY", KEY)
        for block in blocks(page):
            code = compile(shorter(block), page.name, "exec")
            if OF_A_PAGE not in block:
                exec(code, names)
