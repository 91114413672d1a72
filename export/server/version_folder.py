"""What lies in a model's folder."""

import os
import re
from pathlib import Path


def list_versions(base_path):
    """The versions in a model's folder: dict of number -> path.

    A version is a folder whose name is an integer below 2**63; leading zeros are allowed.

    Raises:
        OSError: the folder cannot be read.
    """
    versions = {}
    with os.scandir(base_path) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            if re.fullmatch(r"[0-9]{1,30}", entry.name) and int(entry.name) < 2**63 and entry.is_dir():
                versions[int(entry.name)] = entry.path
    return versions


def looks_whole(path):
    """Whether the files that a SavedModel cannot do without are there.

    Exporters that do not publish by rename copy file by file; a folder that is still growing is left alone.
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
        return True  # an empty folder: a model without variables
    return (variables / "variables.index").is_file() and len(counts) == max(counts, default=1)


def look_of(path):
    """Something that changes when a file below `path` does: names, sizes and times."""
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
