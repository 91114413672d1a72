"""A new version of a model appears in its folder whole or not at all."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from export.errors import ExportError

_UNFINISHED = ".exporting-"  # no integer, so no server takes it for a version


@contextlib.contextmanager
def publishing(base, version=None):
    """Gives a folder to write a version into, and makes it `base/<version>` in one step when the block ends well.

    What was written is flushed to disk before it is renamed, so that neither a server that polls the folder nor a
    machine that loses its power sees half a version. A block that raises leaves nothing; what a killed process left is
    removed by the next one. Exporters into the same folder wait for each other.

    Args:
        base: folder of the model.
        version: positive int of at most 63 bits; None: one more than the highest that is there.

    Yields:
        `(folder, version)`: where to write, and what it will be called.

    Raises:
        ExportError: that version is there already, or is no positive number of at most 63 bits.
    """
    base = Path(base).expanduser()
    base.mkdir(parents=True, exist_ok=True)
    with open(base / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the system releases it when the process dies
        for left in base.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left)
        present = versions(base)
        if version is None:
            version = max(present, default=0) + 1
        if not 1 <= version < 2**63:  # servers pass over a folder whose number they cannot hold
            raise ExportError(f"A version is a positive number of at most 63 bits; got {version}.")
        target = base / str(version)
        if version in present or target.exists():
            raise ExportError(
                f"`{target}` is there already, and a published version does not change. Give another version, or none: "
                f"the next free one is {max(present, default=0) + 1}."
            )
        folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=base))
        try:
            yield folder, version
            _flush(folder)
            folder.chmod(0o755)  # mkdtemp's folder is its owner's alone, and servers run as somebody else
            os.rename(folder, target)
            _flush_folder(base)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def versions(base):
    """Version numbers that lie in a model's folder."""
    return sorted(int(path.name) for path in Path(base).iterdir() if path.name.isdecimal() and path.is_dir())


def _flush(folder):
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            with open(os.path.join(parent, name), "rb") as file:
                os.fsync(file.fileno())
        _flush_folder(parent)


def _flush_folder(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
