"""Every Python block of README and docs runs as written, in order."""

import re
import runpy
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


# The page on training is run by tests/jaxcore/training/test_docs.py.
@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.stem != "training"], ids=lambda p: p.stem
)
def test_code_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "blocks.py"
    script.write_text("\n".join(BLOCK.findall(page.read_text(encoding="utf8"))))
    runpy.run_path(str(script))
    assert page.stem != "README" or (tmp_path / "plate.png").stat().st_size > 10_000


def test_readme_example_is_ten_lines():
    (code, *_) = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf8"))
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 10


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
