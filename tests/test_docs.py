"""The documentation says what the code says, and builds without a broken link or a request to another host."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("name", ["yes_no.py", "yes_no.yaml"])
def test_contributing_shows_the_tested_task(name):
    code = (ROOT / "tests" / "tasks" / "new_task" / name).read_text("utf-8").strip()
    assert f"\n{code}\n```" in (ROOT / "CONTRIBUTING.md").read_text("utf-8"), f"copy tests/tasks/new_task/{name} anew"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_configs_exist(page):
    """Configs that commands name, by path or as a shipped experiment."""
    text = page.read_text("utf-8")
    named = re.findall(
        r"(?:vl-keras (?:train|extract|data inspect)|load_config\(\") ?([a-z_0-9/]+)(?:\.yaml)?[ \"\n]", text
    )
    named += re.findall(r"`configs/([a-z_0-9/]+)\.yaml`", text)
    for name in named:
        name = name.removeprefix("configs/")
        if "/" in name and not name.startswith("yes_no/"):
            assert (ROOT / "configs" / f"{name}.yaml").is_file(), f"{page.name} names `{name}`"


def test_architecture_lists_every_package():
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    listed = set(re.findall(r"`([a-z_]+)`", "\n".join(line for line in page.splitlines() if line.startswith("| `"))))
    packages = {path.name for path in (ROOT / "vl_keras").iterdir() if (path / "__init__.py").is_file()}
    assert packages and packages <= listed, f"docs/architecture.md does not list {sorted(packages - listed)}"


@pytest.mark.slow
def test_the_site_builds_with_strict_links(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"?(https?://[^\"\s>]+)", page.read_text("utf-8")
        )
        assert not loaded, f"{page.name} loads {loaded}"
