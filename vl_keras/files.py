"""Files of other people and on other disks: read with care, locked where that is possible, missing only if they are."""

import contextlib
import errno
import fcntl
import os
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from vl_keras.errors import VlKerasError

MAX_BYTES = 1 << 29  # of an image, a manifest, a config: far above any that fits into memory once decoded
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOTTY)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class LockError(VlKerasError, OSError):
    """The file system has no locks, so nothing would keep two processes from writing the same files."""


def read_file(path: str | Path, most: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file.

    Devices, pipes and sockets are refused, because reading them may wait or go on for ever.

    Args:
        path: of the file.
        most: largest size in bytes.

    Raises:
        OSError: it cannot be read, is no regular file or is larger; `strerror` is the reason.
    """
    _check(os.stat(path), path, most)  # before it is opened, which has effects on some devices
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        _check(os.fstat(file.fileno()), path, most)
        content = file.read(most + 1)
    if len(content) > most:  # it grows, or its size is not told, as in /proc
        raise _too_large(path, most)
    return content


def problem_of(path: str | Path, most: int = MAX_BYTES) -> str:
    """The reason why `read_file` would refuse a file without opening it; empty if there is none."""
    try:
        _check(os.stat(path), path, most)
    except OSError as error:
        return "there is no such file" if error.errno in _GONE else error.strerror or str(error)
    return ""


def is_gone(path: str | Path) -> bool:
    """Whether there is certainly nothing at a path; a folder or disk that cannot be asked is no proof of it."""
    try:
        os.stat(path)
    except OSError as error:
        return error.errno in _GONE
    return False


class FileFinder:
    """Finds files whose names are written in another Unicode normal form, and what links stand for.

    macOS writes "é" as two characters where others write one, and archives carry such names on. Listings of folders and
    their real paths are kept, so that a hundred thousand files cost little.
    """

    def __init__(self) -> None:
        self._names: dict[Path, dict[str, str]] = {}
        self._real: dict[str, str] = {}

    def find(self, path: Path) -> Path:
        """The file at a path, or the one whose path is the same text; the path itself where there is neither."""
        if str(path).isascii() or not is_gone(path):
            return path
        found = Path(path.anchor)
        for part in path.relative_to(path.anchor).parts:
            if is_gone(found / part):
                part = self._listed(found).get(unicodedata.normalize("NFC", part), part)
            found /= part
        return path if is_gone(found) else found

    def real(self, path: Path) -> str:
        """The path without links, the same for all paths of a file."""
        return os.path.realpath(path) if os.path.islink(path) else self.place(path)

    def place(self, path: Path) -> str:
        """The path with its folder free of links."""
        folder, name = os.path.split(path)
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        return os.path.join(self._real[folder], name)

    def _listed(self, folder: Path) -> dict[str, str]:
        if folder not in self._names:
            try:
                names = os.listdir(folder)
            except OSError:
                names = []
            self._names[folder] = {unicodedata.normalize("NFC", name): name for name in names}
        return self._names[folder]


@contextlib.contextmanager
def locked(path: str | Path, wait: bool = True) -> Iterator[bool]:
    """Inside, this process alone holds the lock of a file; the system releases it when the process dies.

    Args:
        path: the lock file; it is made if it does not exist, and stays.
        wait: wait until other processes have released it.

    Yields:
        Whether the lock is held. It is not where this process may not write, so that it can only read what is there.

    Raises:
        BlockingIOError: another process holds it, and `wait` is false.
        LockError: the file system has no locks.
        OSError: the lock file cannot be made for another reason, e.g. a full disk.
    """
    try:
        file = open(path, "a")
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise LockError(
                    f"The file system of `{path}` has no file locks ({error.strerror}), which keep two processes from "
                    "writing the same files; use a folder on a disk that has them, or have it mounted with locks."
                ) from error
            raise
        yield True


def _check(status: os.stat_result, path: str | Path, most: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a folder, or one that cannot be listed", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file (a device, pipe or socket)", str(path))
    if status.st_size > most:
        raise _too_large(path, most)


def _too_large(path: str | Path, most: int) -> OSError:
    return OSError(errno.EFBIG, f"larger than {most >> 20} MiB, the most that is read of one file", str(path))
