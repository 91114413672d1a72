"""An exporter that is killed at any time must not leave an incomplete version."""

import hashlib
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the operations of exported models

from benchmarks.serving_laws.finding import Finding, nothing
from benchmarks.serving_laws.server import ROOT
from export.publish import publishing, versions

_PUBLISHER = """
import shutil, sys
from export.publish import publishing
while True:
    with publishing(sys.argv[2]) as (folder, version):
        shutil.copytree(sys.argv[1], folder, dirs_exist_ok=True)
    print(version, flush=True)
"""


def kills(
    folder: Path, exported: Path, run: Path | None = None, publishings: int = 40, exports: int = 10, seed: int = 0
) -> list[Finding]:
    """Kills publishing and whole exports at random times and checks all published versions.

    Args:
        folder: empty folder for the published versions.
        exported: folder of an exported version, which is published repeatedly.
        run: folder of a trained run, for whole exports; None: no exports.
        publishings: number of kills while the version is copied, flushed and renamed.
        exports: number of kills of `vl-export savedmodel`, between the creation of its folder and its end.
        seed: for the times.

    Returns:
        List of `Finding`.
    """
    rng = random.Random(seed)
    half, whole, left = [], [0, 0], [0, 0]
    base = folder / "publishings"
    for _ in range(publishings):
        _kill([sys.executable, "-c", _PUBLISHER, exported, base], base, rng.uniform(0, 1), half, whole, left)
        _forget(base)
    base = folder / "exports"
    command = [sys.executable, "-m", "export", "savedmodel", run, "--out", base]
    seconds = _time_of_export(command, base) if exports and run else 0
    for _ in range(exports if run else 0):
        _kill(command, base, rng.uniform(0, 1.05 * seconds), half, whole, left)
    for each in (folder / "publishings", folder / "exports"):
        if each.is_dir():
            with publishing(each):
                pass
            half += [f"left behind: {path.name}" for path in each.iterdir() if path.name.startswith(".exporting")]
    return [
        Finding("kill -9 while publishing", f"{publishings}"),
        Finding("kill -9 of `vl-export savedmodel`", f"{exports if run else 0}, within {seconds:.0f} s of writing"),
        Finding("killed while writing", f"{left[0]}"),
        Finding("complete versions, of these loaded", f"{whole[0]}, {whole[1]}"),
        nothing("incomplete versions", half),
    ]


def _kill(
    command: Sequence[str | Path], base: Path, after_s: float, half: list[str], whole: list[int], left: list[int]
) -> None:
    """Kills a command some time after it starts to write, then checks the versions in `base`."""
    before = _unfinished(base)  # files of an earlier kill stay until the next version is published
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _wait_for_writing(process, base, before)
        time.sleep(after_s)
        process.kill()
    left[0] += bool(_unfinished(base) - before)
    found = versions(base)
    for version in found:
        reason = _what_is_missing(base / str(version))
        if reason:
            half.append(f"{base.name}/{version}: {reason}")
    whole[0] += len(found)
    if found and base.name == "exports" or whole[1] < 3:
        for version in found[-1:]:
            signatures = tf.saved_model.load(str(base / str(version))).signatures
            whole[1] += bool(signatures)


def _what_is_missing(folder: Path) -> str | None:
    """Why a version does not match its manifest; None if it does."""
    try:
        files = json.loads((folder / "manifest.json").read_text())["files"]
        for name, expected in files.items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
                return f"{name} differs"
    except (OSError, ValueError) as error:
        return repr(error)


def _unfinished(base: Path) -> set[str]:
    return {path.name for path in base.glob(".exporting-*")}


def _wait_for_writing(process: subprocess.Popen, base: Path, before: Collection[str] = frozenset()) -> None:
    while process.poll() is None and not _unfinished(base) - before:
        time.sleep(0.005)


def _time_of_export(command: Sequence[str | Path], base: Path) -> float:
    """Seconds from the creation of the folder of a version to its publication."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        _wait_for_writing(process, base)
        started = time.perf_counter()
        errors = process.stderr.read()
        if process.wait():
            raise RuntimeError(f"The export failed:\n{errors.decode()}")
    return time.perf_counter() - started


def _forget(base: Path) -> None:
    for version in versions(base):
        shutil.rmtree(base / str(version))
