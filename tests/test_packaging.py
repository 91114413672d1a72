"""The constraints files pin what setup.py asks for, and what `python -m build` makes works outside the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LINES = {"constraints.txt": "2.20", "constraints-tf2.21.txt": "2.21"}


def _pins(path):
    """Dict of package name -> version; `-c` lines are followed, as pip follows them."""
    pins = {}
    for line in path.read_text("utf-8").splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("-c "):
            pins |= _pins(path.parent / line.removeprefix("-c ").strip())
        elif line:
            name, version = line.split("==")
            assert canonicalize_name(name) not in pins, f"{path.name} pins {name} twice"
            pins[canonicalize_name(name)] = version
    return pins


def _requirements():
    """Everything that setup.py asks for, extras included."""
    code = (
        "import setuptools, distutils.core\n"  # setuptools brings distutils to Python 3.12 and later
        "made = distutils.core.run_setup('setup.py', stop_after='init')\n"
        "extras = [line for lines in made.extras_require.values() for line in lines]\n"
        "print(*made.install_requires, *extras, sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return sorted({line for line in done.stdout.splitlines() if line})


@pytest.mark.parametrize("name", LINES)
def test_constraints_pin_what_setup_asks_for(name):
    pins = _pins(ROOT / name)
    for line in _requirements():
        requirement = Requirement(line)
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{name} does not pin {requirement.name}"
        assert version in requirement.specifier, f"{name} pins {requirement.name} {version}; setup.py asks for {line}"


def test_each_line_has_one_tensorflow():
    for name, line in LINES.items():
        pins = _pins(ROOT / name)
        for package in ("tensorflow", "tensorflow-text", "tf-keras", "tensorflow-serving-api"):
            assert pins[package].startswith(f"{line}."), f"{name} pins {package} {pins[package]}"
    assert _pins(ROOT / "constraints.txt").keys() == _pins(ROOT / "constraints-tf2.21.txt").keys()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder with the sdist and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("build")
    left_out = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")
    source = folder / "source"
    source.mkdir()
    for entry in ROOT.iterdir():
        if entry.name in ("runs", "data", "build", "dist", "site") or entry.name.startswith("."):
            continue
        if entry.is_dir():
            shutil.copytree(entry, source / entry.name, ignore=left_out)
        else:
            shutil.copy(entry, source)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(source)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "dist"


def _one(folder, pattern):
    (path,) = folder.glob(pattern)
    return path


@pytest.mark.slow
def test_wheel_and_sdist_hold_what_is_needed(built):
    with zipfile.ZipFile(_one(built, "*.whl")) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
    configs = {path.relative_to(ROOT / "configs").as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
    assert configs == {name.removeprefix("vl_keras/configs/") for name in names if name.endswith(".yaml")}
    modules = {
        path.relative_to(ROOT).as_posix() for top in ("vl_keras", "export") for path in (ROOT / top).rglob("*.py")
    }
    assert modules <= set(names)
    assert {"vl_keras/py.typed", "export/py.typed"} <= set(names)
    templates = {path.relative_to(ROOT).as_posix() for path in (ROOT / "vl_keras").rglob("templates/*")}
    assert templates and templates <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"vl_keras", "export"}
    header = metadata.split("\n\n")[0]
    assert "License: Apache-2.0" in header and "URL" not in header
    assert {"serve", "batch", "app", "retrieval", "augment", "docs", "dev", "all"} == {
        line.removeprefix("Provides-Extra: ") for line in header.splitlines() if line.startswith("Provides-Extra: ")
    }
    with tarfile.open(_one(built, "*.tar.gz")) as sdist:
        files = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"constraints.txt", "Makefile", "CHANGELOG.md", "tests/conftest.py", "configs/captioning/tiny.yaml"} <= files


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Folder of the commands of an environment that holds the wheel, and the packages that it asks for."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin/python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(_one(built, "*.whl"))], check=True)
    # What the wheel asks for is read where this Python has it: nothing is downloaded.
    packages = folder / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    (packages / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin"


def _run(installed, folder, *command):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(installed / command[0]), *command[1:]], cwd=folder, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.slow
def test_installed_commands_work_from_any_folder(installed, tmp_path):
    where = _run(
        installed, tmp_path, "python", "-c", "import export, vl_keras; print(export.__file__, vl_keras.__file__)"
    )
    assert all(path.startswith(str(installed.parent)) for path in where.split())
    assert "train" in _run(installed, tmp_path, "vl-keras", "--help")
    assert "savedmodel" in _run(installed, tmp_path, "vl-export", "--help")
    configs = _run(installed, tmp_path, "vl-keras", "configs")
    for path in (ROOT / "configs").rglob("*.yaml"):
        assert path.relative_to(ROOT / "configs").with_suffix("").as_posix() in configs


@pytest.mark.slow
def test_installed_commands_train_and_export(installed, tmp_path):
    _run(installed, tmp_path, "vl-keras", "train", "captioning/tiny", "--run-dir", "run", "--set", "training.epochs=1")
    _run(installed, tmp_path, "vl-export", "savedmodel", "run", "--out", "models/captioner")
    assert "caption_candidates" in _run(installed, tmp_path, "vl-export", "inspect", "models/captioner/1")
