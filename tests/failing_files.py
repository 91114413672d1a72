"""Folders and disks of which the system answers with an error; tests may run as root, whom no permission stops."""

import builtins
import errno
import os


def failing(monkeypatch, module, name, place, number):
    """Lets a function of the system fail for everything at or below a path."""
    real = getattr(module, name)

    def function(path, *arguments, **options):
        if _is_below(path, place):
            raise OSError(number, os.strerror(number), os.fspath(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(module, name, function)


def read_only(monkeypatch, place):
    """Lets everything that writes at or below a path fail, as on a disk that is mounted to be read."""
    real = builtins.open

    def opened(path, mode="r", *arguments, **options):
        if _is_below(path, place) and set(mode) & set("wax+"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fspath(path))
        return real(path, mode, *arguments, **options)

    monkeypatch.setattr(builtins, "open", opened)
    monkeypatch.setattr("io.open", opened)  # of `Path.open` and `Path.write_text`
    for name in ("unlink", "replace", "rename", "rmdir"):
        failing(monkeypatch, os, name, place, errno.EROFS)


def _is_below(path, place):
    return isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(str(place))
