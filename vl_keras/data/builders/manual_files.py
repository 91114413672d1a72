"""The files of a dataset as a person downloaded them: still in their archives, or unpacked."""

import os
import zipfile
import zlib
from pathlib import Path

from vl_keras.data.builders.caption_files import read_json
from vl_keras.data.builders.example_builder import input_stamp
from vl_keras.errors import DataError


class ManualFiles:
    """Files by their base name, from zip archives and from folders; where both have one, the unpacked one is read.

    Args:
        archives: zip files; absent ones are passed over.
        folders: folders whose direct files count; absent ones are passed over.
        only: names of the files that count, so that others in the same places are no change; None for all.

    Raises:
        DataError: an archive is no zip file or was not downloaded to its end.
    """

    def __init__(self, archives=(), folders=(), only=None):
        self._stamp, self._places, self._only = [], {}, only
        for path in map(Path, archives):
            if path.is_file():
                self._add_archive(path)
        for folder in map(Path, folders):
            if folder.is_dir():
                self._add_folder(folder)

    def __len__(self):
        return len(self._places)

    def __contains__(self, name):
        return name in self._places

    def read(self, name):
        """Bytes of the file. Raises `OSError` with a reason where they cannot be read."""
        place = self._places[name]
        try:
            return place.read_bytes() if isinstance(place, Path) else place[0].read(place[1])
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise OSError(f"damaged in its archive: {error}") from None

    def stamp(self):
        """JSON-able value that changes when a file does: names, sizes and times of archives and of unpacked files."""
        return self._stamp

    def _add_archive(self, path):
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"`{path}` cannot be opened ({error}); get the archive again.") from None
        for entry in archive.infolist():
            name = os.path.basename(entry.filename)
            if not entry.is_dir() and not entry.filename.startswith("__MACOSX/") and self._counts(name):
                self._places[name] = (archive, entry)
        self._stamp.append(input_stamp(path))

    def _add_folder(self, folder):
        with os.scandir(folder) as entries:
            files = [entry for entry in entries if self._counts(entry.name) and entry.is_file()]
        for file in sorted(files, key=lambda entry: entry.name):
            self._places[file.name] = Path(file.path)
            self._stamp.append([file.name, file.stat().st_size, file.stat().st_mtime_ns])

    def _counts(self, name):
        return self._only is None or name in self._only


def folders_or_zips(folder, names):
    """`ManualFiles` of the folders `names` in `folder`, each unpacked or still packed as NAME.zip."""
    return ManualFiles([folder / f"{name}.zip" for name in names], [folder / name for name in names])


def read_manual_json(files, name, object_hook=None):
    """Parsed JSON of a file in `ManualFiles`; raises `DataError` that names it. `object_hook` as of `json.loads`."""
    try:
        content = files.read(name)
    except OSError as error:
        raise DataError(f"`{name}` cannot be read ({error}); get the file again.") from None
    return read_json(content, name, object_hook)


def manual_folder(settings, dataset, wanted):
    """The folder in `data.manual_dir`; raises `DataError` that says which files (`wanted`) belong there."""
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


def read_images(files, names, skip):
    """Yields `(name, bytes)` for each of `names`; one that is absent or unreadable goes to `skip(name, reason)`."""
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
