"""Publishes a new version of a model atomically."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from export.errors import ExportError
from vl_keras.files import locked

_UNFINISHED = ".exporting-"  # not an integer, so servers ignore it


@contextlib.contextmanager
def publishing(base: str | Path, version: int | None = None) -> Iterator[tuple[Path, int]]:
    """Gives a folder to write a version into, and renames it to `base/<version>` when the block succeeds.

    The files are flushed to disk before the rename, so neither a server that polls the folder nor a power failure
    leaves half a version. If the block raises, the folder is deleted; folders of killed processes are deleted by the
    next call. Exporters into the same folder wait for each other.

    Args:
        base: folder of the model.
        version: positive int of at most 63 bits; None: one more than the highest existing version.

    Yields:
        `(folder, version)`: the folder to write to, and the number of the version.

    Raises:
        ExportError: the version exists, or is not a positive number of at most 63 bits.
    """
    base = Path(base).expanduser()
    base.mkdir(parents=True, exist_ok=True)
    with locked(base / ".lock"):  # where it may not be written to, the folder below cannot be made
        for left in base.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left)
        present = versions(base)
        if version is None:
            version = max(present, default=0) + 1
        if not 1 <= version < 2**63:  # servers ignore larger numbers
            raise ExportError(f"A version must be a positive number of at most 63 bits; got {version}.")
        target = base / str(version)
        if version in present or target.exists():
            raise ExportError(
                f"`{target}` exists, and a published version never changes. Give another version, or none: the next "
                f"free version is {max(present, default=0) + 1}."
            )
        folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=base))
        try:
            yield folder, version
            _flush(folder)
            folder.chmod(0o755)  # mkdtemp allows only the owner, but servers run as another user
            os.rename(folder, target)
            _flush_folder(base)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def versions(base: str | Path) -> list[int]:
    """The version numbers in the folder of a model, ascending."""
    return sorted(int(path.name) for path in Path(base).iterdir() if path.name.isdecimal() and path.is_dir())


def _flush(folder: str | Path) -> None:
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            with open(os.path.join(parent, name), "rb") as file:
                os.fsync(file.fileno())
        _flush_folder(parent)


def _flush_folder(folder: str | Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
