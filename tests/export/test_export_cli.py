"""The `vl-export` command: help, version, errors."""

import subprocess
import sys
import types
from pathlib import Path

import pytest

import vl_keras
from export.cli import main
from export.errors import ExportError
from vl_keras import errors

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("savedmodel", "inspect", "serve", "request", "deploy", "batch", "app")
HEAVY = ("tensorflow", "tf_keras", "keras", "numpy", "grpc", "PIL", "apache_beam", "gradio", "yaml", "google.protobuf")


def run(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_help_imports_nothing_heavy():
    done = run(
        "import sys\nfrom export.cli import main\n"
        f"for command in {COMMANDS}:\n"
        "    try:\n        main([command, '--help'])\n"
        "    except SystemExit as stop:\n        assert stop.code == 0\n"
        f"assert not [name for name in {HEAVY} if name in sys.modules]"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("example:\n  vl-export ") == len(COMMANDS)


@pytest.mark.parametrize(
    "start", [["-m", "export"], ["-c", "import sys; from export.cli import main; sys.exit(main())"]]
)
def test_the_version_is_that_of_the_package(start):
    command = [sys.executable, *start, "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"vl-export {vl_keras.__version__}\n"


@pytest.mark.parametrize(
    "kind",
    [
        ExportError,
        *(kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.VlKerasError)),
    ],
)
def test_every_error_of_ours_costs_one_line(kind, monkeypatch, capsys):
    def export_savedmodel(*args, **options):
        raise kind("There is no file `x`. Give one.")

    fake = types.SimpleNamespace(export_savedmodel=export_savedmodel)
    monkeypatch.setitem(sys.modules, "export.savedmodel", fake)
    assert main(["savedmodel", "run", "--out", "models/m"]) == 1
    assert capsys.readouterr().err == "vl-export savedmodel: There is no file `x`. Give one.\n"


def test_the_client_runs_beside_keras_3():
    done = run(
        "import sys, types, os\nos.environ.pop('TF_USE_LEGACY_KERAS', None)\n"
        "sys.modules['tensorflow'] = types.ModuleType('tensorflow')\n"
        "from export.client import Client\nfrom export.errors import ExportError\n"
        "try:\n    Client('nonsense')\nexcept ExportError as error:\n    print(error)\n"
        "assert 'TF_USE_LEGACY_KERAS' not in os.environ"
    )
    assert done.returncode == 0, done.stderr
    assert "grpc://HOST:PORT" in done.stdout


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--input-text", "context"], "--input-text must be NAME=TEXT; got 'context'."),
        (["--input-text", "=a"], "--input-text must be NAME=TEXT; got '=a'."),
        (["--context", "a", "--input-text", "context=b"], "The input `context` is given twice; give it once."),
        (["--input-text", "x=a", "x=b"], "The input `x` is given twice; give it once."),
        (["--input-text", "x=\udce9"], "--input-text x must be UTF-8; got b'\\xe9'."),
    ],
)
def test_texts_that_cannot_be_sent(arguments, said, capsys):
    assert main(["request", "grpc://localhost:1", *arguments]) == 1
    assert capsys.readouterr().err == f"vl-export request: {said}\n"
