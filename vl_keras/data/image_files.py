"""Anybody's image files, as a source that the pipeline reads."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from vl_keras.data.examples import Examples
from vl_keras.data.quarantine import Quarantine
from vl_keras.errors import RunError
from vl_keras.files import FileFinder, read_file

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp")
# Images too: found, so that they are listed as not read. A `.dib` is a BMP and an `.apng` a PNG, which are.
_UNREADABLE = (".heic", ".heif", ".hif", ".avif", ".avifs", ".tif", ".tiff", ".jp2", ".j2k", ".jpx", ".jxl")


class ImageFiles(Examples):
    """Image files, read as `load_images` reads a `Source`: one that cannot be read costs itself.

    Args:
        paths: the files.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self.paths = [Path(path) for path in paths]
        self.image_ids = [str(path) for path in paths]
        self.quarantine = Quarantine()

    def read(self, modality: str, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """`(n,)` object array of the files' bytes; `b""` for one that cannot be opened; it is then in `quarantine`."""
        images = np.empty(len(numbers), object)
        for row, index in enumerate(numbers):
            try:
                images[row] = read_file(self.paths[index])
            except OSError as error:
                self.quarantine.add(self.image_ids[index], error.strerror or str(error))
                images[row] = b""
        return images


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """The files among `paths`, and the image files (told by their endings) in the folders among them, at any depth.

    Args:
        paths: files and folders; a file is taken whatever its name, even if it is missing.

    Returns:
        List of `Path`, each once: in the order given, within a folder by name. A folder that cannot be listed stands
        itself among them, so that it is named with the files that cannot be read, instead of looking empty.
    """
    found: dict[Path, None] = {}
    finder = FileFinder()
    for path in map(Path, paths):
        path = finder.find(path.expanduser())
        if os.path.isdir(path):
            found.update(dict.fromkeys(sorted(_images_in(path))))
        else:
            found[path] = None
    # Of several names of one file, as through a link to its folder, the first is kept.
    first: dict[str, Path] = {}
    for path in found:
        first.setdefault(finder.place(path), path)
    return list(first.values())


def _images_in(folder: Path) -> Iterator[Path]:
    """Those in a folder at any depth, links to folders followed, no folder searched twice; folders not listed."""
    seen = set()
    unlisted: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=unlisted.append, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()  # which of two names of one folder is searched does not follow from the file system's order
        for file in (Path(place, name) for name in files):
            if file.suffix.lower() in SUFFIXES + _UNREADABLE:
                yield file
    yield from (Path(error.filename) for error in unlisted)


def drawing_paths(explain: str | Path | None, paths: Sequence[Path], count: int = 1) -> list[Path]:
    """Where each image's explanations are drawn, `explain` itself for a single one; its folder is made.

    Several images get a path each, with the image's name put before the ending, different from the others; where
    each has several explanations, their numbers follow. None gives no path at all.

    Args:
        explain: PNG file, or None.
        paths: the images.
        count: explanations of each.

    Returns:
        List of `count` paths for each image, one after the other.

    Raises:
        RunError: one of them is the file of an image.
    """
    if explain is None:
        return []
    explain = Path(explain).expanduser()
    explain.parent.mkdir(parents=True, exist_ok=True)
    drawings = [explain] if len(paths) == 1 else _named_after(explain, paths)
    if count > 1:
        drawings = [path.with_stem(f"{path.stem}-{number}") for path in drawings for number in range(1, count + 1)]
    check_not_over(drawings, paths)
    return drawings


def check_not_over(drawings: Iterable[str | Path], images: Iterable[str | Path]) -> None:
    """Raises `RunError` where a PNG file that is to be drawn would take the place of an image that is read."""
    read = {os.path.realpath(path) for path in images}
    for drawing in drawings:
        if os.path.realpath(drawing) in read:
            raise RunError(f"`{drawing}` is one of the images and would be drawn over; give it another name.")


def _named_after(explain: Path, paths: Sequence[Path]) -> list[Path]:
    names: list[Path] = []
    taken: set[str] = set()
    for path in paths:
        name, number = path.stem, 1
        while name in taken:
            number += 1
            name = f"{path.stem}-{number}"
        taken.add(name)
        names.append(explain.with_name(f"{explain.stem}-{name}.png"))
    return names
