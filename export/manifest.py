"""Checks the files of a version against its `manifest.json`."""

import hashlib
import json
import re
import stat
from pathlib import Path
from typing import Any

from export.effects import LOADED_FILES, is_inside
from export.errors import ExportError

MANIFEST = "manifest.json"
_SUM = re.compile("[0-9a-f]{64}")


class ManifestError(ExportError):
    """A version is not what its manifest says, or the manifest cannot be read.

    Attributes:
        is_missing: whether a file is missing that the manifest lists.
    """

    def __init__(self, message: str, is_missing: bool = False) -> None:
        super().__init__(message)
        self.is_missing = is_missing


def check_manifest(folder: str | Path) -> None:
    """Checks the SHA-256 sums of all files that a server reads, if the version has a manifest with sums.

    Raises:
        ManifestError: the manifest cannot be read, a file differs, is missing, is not listed or is no regular file.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError) as error:
        raise ManifestError(f"{MANIFEST} cannot be read: {error}. Copy or export the version again.") from error
    sums = _sums(manifest)
    if sums is None:
        return
    for name, expected in sums.items():
        _check_file(folder, name, expected)
    for name in LOADED_FILES:
        file = folder / name
        for each in file.rglob("*") if file.is_dir() else [file]:
            listed = each.relative_to(folder).as_posix()
            if not each.is_dir() and (each.exists() or each.is_symlink()) and listed not in sums:
                raise ManifestError(f"{listed!r} is not in the list of {MANIFEST}.")


def _sums(manifest: Any) -> dict[str, str] | None:
    """Name -> SHA-256; None if the manifest never had sums."""
    if not isinstance(manifest, dict):
        raise ManifestError(f"{MANIFEST} is not a JSON object. Copy or export the version again.")
    if "files" not in manifest:
        if any(_are_sums(value) for value in manifest.values()):  # a damaged key must not turn the check off
            raise ManifestError(
                f"{MANIFEST} has sums, but not under the key `files`. Copy or export the version again."
            )
        return None
    sums = manifest["files"]
    if not _are_sums(sums):
        raise ManifestError(f"`files` in {MANIFEST} is not a list of SHA-256 sums. Copy or export the version again.")
    return sums


def _are_sums(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(each, str) and _SUM.fullmatch(each) for each in value.values())
    )


def _check_file(folder: Path, name: str, expected: str) -> None:
    if not is_inside(name):
        raise ManifestError(f"{MANIFEST} lists {name!r}, which is not in the folder of the version.")
    try:
        path = folder
        for part in Path(name).parts:
            path = path / part
            mode = path.lstat().st_mode
            if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                raise ManifestError(f"{name!r}, which {MANIFEST} lists, is a link or a device, not a regular file.")
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise ManifestError(f"{name}, which {MANIFEST} lists, {what}.", is_missing=True) from error
    if found != expected:
        raise ManifestError(f"{name} is not the file that {MANIFEST} describes.")
