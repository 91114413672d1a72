"""What a training run ran on: packages, code, devices."""

import importlib.metadata
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import tensorflow as tf

_PACKAGES = ("vl_keras", "tensorflow", "tf_keras", "tensorflow-text", "tensorflow-hub", "tensorflow-datasets", "numpy")


def describe_versions() -> dict[str, Any]:
    """Packages, code, devices and command of this process, for `versions.json`."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    devices = [device.name for device in tf.config.list_logical_devices()]
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "devices": devices,
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    """The commit that the code runs from, with "-dirty" if files differ from it; None outside a checkout."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    # Not `describe --dirty`: it locks the index, and a lock would stay if the time limit ended it.
    git = ["git", "--no-optional-locks", "-C", str(folder)]
    try:
        commit = _output([*git, "rev-parse", "HEAD"])
        return f"{commit}-dirty" if _output([*git, "status", "--porcelain", "--untracked-files=no"]) else commit
    except (OSError, subprocess.SubprocessError):
        return None


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
