"""Reads the folder of a model."""

import os
import re
from pathlib import Path


def list_versions(base_path: str | Path) -> dict[int, str]:
    """The versions of a model: dict of number -> path.

    A version is a folder with an integer below 2**63 as its name; leading zeros are allowed.

    Raises:
        OSError: the folder cannot be read.
    """
    versions = {}
    with os.scandir(base_path) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            if re.fullmatch(r"[0-9]{1,30}", entry.name) and int(entry.name) < 2**63 and entry.is_dir():
                versions[int(entry.name)] = entry.path
    return versions


def looks_whole(path: str | Path) -> bool:
    """Whether all required files of a SavedModel exist.

    Some exporters copy file by file instead of renaming; their folders are incomplete for a while.
    """
    path = Path(path)
    if not any((path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        return False
    variables = path / "variables"
    if not variables.is_dir():
        return True
    shards = [re.fullmatch(r"variables\.data-\d{5}-of-(\d{5})", name) for name in os.listdir(variables)]
    counts = [int(shard[1]) for shard in shards if shard]
    if not counts and not (variables / "variables.index").is_file():
        return True  # the model has no variables
    return (variables / "variables.index").is_file() and len(counts) == max(counts, default=1)


def look_of(path: str | Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of all files below `path`; differs when a file changes."""
    found = []
    for parent, _, names in os.walk(path):
        for name in names:
            file = os.path.join(parent, name)
            try:
                stat = os.stat(file)
            except OSError:
                continue
            found.append((file, stat.st_size, stat.st_mtime_ns))
    return tuple(sorted(found))
