"""The files of a dataset that the user downloaded: in their archives, or unpacked."""

import os
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vl_keras.config import DataConfig
from vl_keras.data.builders.caption_files import Skip, read_json
from vl_keras.data.builders.example_builder import input_stamp
from vl_keras.errors import DataError
from vl_keras.files import read_file


class ManualFiles:
    """Files by their base name, from zip archives and folders; a file in a folder takes precedence.

    Args:
        archives: zip files; those that do not exist are ignored.
        folders: folders, read without their subfolders; those that do not exist are ignored.
        only: names of the relevant files; others do not change the `stamp`. None: all files.

    Raises:
        DataError: an archive is not a zip file or is incomplete.
    """

    def __init__(
        self,
        archives: Iterable[str | Path] = (),
        folders: Iterable[str | Path] = (),
        only: Container[str] | None = None,
    ) -> None:
        self._stamp: list[list[Any]] = []
        self._places: dict[str, Path | tuple[zipfile.ZipFile, zipfile.ZipInfo]] = {}
        self._only = only
        for path in map(Path, archives):
            if path.is_file():
                self._add_archive(path)
        for folder in map(Path, folders):
            if folder.is_dir():
                self._add_folder(folder)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _key(name) in self._places

    def read(self, name: str) -> bytes:
        """Reads a file.

        Raises:
            OSError: it cannot be read; the message is the reason.
        """
        place = self._places[_key(name)]
        try:
            return read_file(place) if isinstance(place, Path) else place[0].read(place[1])
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise OSError(f"damaged in its archive: {error}") from None

    def stamp(self) -> list[list[Any]]:
        """JSON value that changes with the files: names, sizes and modification times of archives and files."""
        return self._stamp

    def _add_archive(self, path: Path) -> None:
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"`{path}` cannot be opened ({error}); get the archive again.") from None
        for entry in archive.infolist():
            name = os.path.basename(entry.filename)
            if not entry.is_dir() and not entry.filename.startswith("__MACOSX/") and self._counts(name):
                self._places[_key(name)] = (archive, entry)
        self._stamp.append(input_stamp(path))

    def _add_folder(self, folder: Path) -> None:
        try:
            with os.scandir(folder) as entries:
                files = [entry for entry in entries if self._counts(entry.name) and entry.is_file()]
        except OSError as error:
            raise DataError(f"`{folder}` cannot be listed: {error.strerror}.") from None
        for file in sorted(files, key=lambda entry: entry.name):
            self._places[_key(file.name)] = Path(file.path)
            self._stamp.append([file.name, file.stat().st_size, file.stat().st_mtime_ns])

    def _counts(self, name: str) -> bool:
        return self._only is None or name in self._only or _key(name) in self._only


def _key(name: str) -> str:
    """Names compare as texts: macOS writes "é" as two characters, others as one."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def folders_or_zips(folder: Path, names: Sequence[str]) -> ManualFiles:
    """Files of the folders `names` in `folder`; each may be a folder or an archive NAME.zip."""
    return ManualFiles([folder / f"{name}.zip" for name in names], [folder / name for name in names])


def read_manual_json(files: ManualFiles, name: str, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Parses a JSON file of `files`.

    Args:
        files: the files.
        name: base name of the file.
        object_hook: see `json.loads`.

    Raises:
        DataError: the file cannot be read or is not JSON.
    """
    try:
        content = files.read(name)
    except OSError as error:
        raise DataError(f"`{name}` cannot be read ({error}); get the file again.") from None
    return read_json(content, name, object_hook)


def manual_folder(settings: DataConfig, dataset: str, wanted: str) -> Path:
    """Returns the folder `data.manual_dir`.

    Args:
        settings: the `data` section of the config.
        dataset: name of the dataset, for the message.
        wanted: the files that must be there, for the message.

    Raises:
        DataError: it is not set or does not exist.
    """
    if not settings.manual_dir:
        raise DataError(
            f"`{dataset}` is read from files that you download yourself: set `data.manual_dir` to the "
            f"folder of {wanted}."
        )
    folder = Path(settings.manual_dir).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"`data.manual_dir` is `{settings.manual_dir}`, and there is no such folder; it must hold {wanted}."
        )
    return folder


def read_images(files: ManualFiles, names: Iterable[str], skip: Skip) -> Iterator[tuple[str, bytes]]:
    """Yields `(name, bytes)` for each of `names`; for an absent or unreadable file it calls `skip(name, reason)`."""
    for name in names:
        if name not in files:
            skip(name, "listed, but there is no such image")
            continue
        try:
            content = files.read(name)
        except OSError as error:
            skip(name, str(error))
            continue
        yield name, content
