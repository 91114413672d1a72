"""A task is known by its name in its own package alone."""

import ast
from pathlib import Path

import pytest

from vl_keras.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(
    path.relative_to(ROOT)
    for folder in ("vl_keras", "export")
    for path in (ROOT / folder).rglob("*.py")
    if "tasks" not in path.relative_to(ROOT).parts[:-1]
)
# The default of the setting `task`; the package `vl_keras.retrieval` and the section `retrieval` are no task.
ALLOWED = {("vl_keras/config/schema.py", "captioning")}


def _strings(tree):
    """String constants of the code, docstrings aside, with their lines."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and _has_docstring(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value, node.lineno


def _has_docstring(node):
    return bool(node.body) and isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)


@pytest.mark.parametrize("relative", FILES, ids=str)
def test_no_task_is_known_by_name_outside_of_tasks(relative):
    for text, line in _strings(ast.parse((ROOT / relative).read_text(encoding="utf-8"))):
        if text in TASKS and (relative.as_posix(), text) not in ALLOWED:
            pytest.fail(f"{relative}:{line}: the task `{text}`; let the task say what it does")


def test_the_walk_finds_a_name():
    assert ("vqa", 2) in set(_strings(ast.parse('"""vqa"""\nif task == "vqa":\n    pass')))
