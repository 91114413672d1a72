"""Who may import whom, and that Keras 2 is selected before TensorFlow is imported."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "vl_keras"

_FILES = {"errors", "files", "json_files", "progress"}  # small files at the bottom, which every package may use
_BELOW_MODELS = {"config", "data", "layers", "losses", "metrics", "encoders", "decoders"} | _FILES
_BELOW_TASKS = _BELOW_MODELS | {"models", "retrieval", "drawing"}
_BELOW_RUNS = _BELOW_TASKS | {"tasks"}
ALLOWED = {
    "__init__": {"inference"},  # `vl_keras.load`, inside the function
    "errors": set(),
    "files": {"errors"},
    "json_files": {"errors"},
    "progress": set(),
    "quiet": set(),
    "config": _FILES,
    "layers": set(),
    "losses": set(),
    "metrics": set(),
    "data": {"config"} | _FILES,
    "encoders": {"layers"} | _FILES,
    "decoders": {"layers"},
    "models": {"encoders", "decoders", "layers", "losses"},
    "retrieval": {"encoders", "data"} | _FILES,
    "drawing": {"data"} | _FILES,
    "tasks": _BELOW_TASKS,
    "runs": _BELOW_RUNS,
    "training": _BELOW_RUNS | {"runs"},
    "inference": _BELOW_RUNS | {"runs"},
    "search": _BELOW_RUNS | {"runs", "inference"},
    "cli": _BELOW_RUNS | {"runs", "training", "inference", "search", "quiet"},
    "__main__": {"cli"},
}


def _modules():
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def _imported(path):
    """Full names of everything that a file imports, inside functions too, in order: `(name, line)`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are written in full"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def _part(relative):
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


@pytest.mark.parametrize("relative", _modules(), ids=str)
def test_a_part_imports_only_what_lies_below_it(relative):
    part = _part(relative)
    assert part in ALLOWED, f"{relative} belongs to no part that the design knows"
    for name, line in _imported(PACKAGE / relative):
        first, *rest = name.split(".")
        assert first != "export", f"{relative}:{line}: vl_keras must not import export"
        if first == "vl_keras" and rest:
            above = rest[0] not in ALLOWED[part] | {part, "__version__"}
            assert not above, f"{relative}:{line}: {part} must not import {rest[0]}"


@pytest.mark.parametrize("relative", _modules(), ids=str)
def test_keras_is_tf_keras(relative):
    path = PACKAGE / relative
    for name, line in _imported(path):
        wrong = name.split(".")[0] == "keras" or name.startswith("tensorflow.keras")
        assert not wrong, f"{relative}:{line}: `{name}`; it is `import tf_keras as keras` here"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr == "keras" and isinstance(node.value, ast.Name):
            assert node.value.id != "tf", f"{relative}:{node.lineno}: `tf.keras` is Keras 3 in this TensorFlow"


def test_importing_the_package_and_its_command_is_light():
    code = (
        "import sys, vl_keras, vl_keras.config, vl_keras.cli.main\n"
        "heavy = {'tensorflow', 'tf_keras', 'tensorflow_text', 'tensorflow_datasets', 'numpy', 'PIL'}\n"
        "print(sorted(heavy.intersection(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "module",
    sorted(
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for folder in ("benchmarks", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if any(name.split(".")[0] in ("tensorflow", "tf_keras", "tensorflow_text") for name, _ in _imported(path))
    ),
)
def test_scripts_import_vl_keras_before_tensorflow(module):
    """Tests are begun by `tests/conftest.py`, which imports vl_keras; a script of its own must do so itself."""
    path = ROOT / f"{module.replace('.', '/')}.py"
    if path.name.startswith("test_") or path.name == "conftest.py":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    is_script = any(isinstance(node, ast.If) and "__main__" in ast.dump(node.test) for node in tree.body)
    if is_script:
        names = [name.split(".")[0] for name, _ in _imported(path)]
        heavy = next(i for i, name in enumerate(names) if name in ("tensorflow", "tf_keras", "tensorflow_text"))
        assert "vl_keras" in names[:heavy], f"{path}: import vl_keras before TensorFlow"


def test_tensorflow_imported_first_is_refused_with_a_reason():
    code = "import sys, types; sys.modules['tensorflow'] = types.ModuleType('tensorflow'); import vl_keras"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=_without_choice())
    assert done.returncode != 0
    assert "Import vl_keras before tensorflow" in done.stderr


def _without_choice():
    return {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
