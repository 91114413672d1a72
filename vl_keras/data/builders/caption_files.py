"""Caption files of published formats: token files, Karpathy's JSON, and splits that are chosen by a hash."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from vl_keras.errors import DataError

# Karpathy's split names; "restval" are validation images that are commonly used for training.
KARPATHY_SPLITS = {"train": "train", "restval": "train", "val": "dev", "test": "test"}

Skip = Callable[[str, str], None]  # receives the name of an unusable input and the reason
ImageCaptions = dict[str, tuple[str, list[str]]]  # image name -> (image id, captions)


def read_tokens(content: bytes, name: str, skip: Skip) -> dict[str, list[str]]:
    """Reads a Flickr token file, lines of `IMAGE#NUMBER<tab>CAPTION`.

    Args:
        content: bytes of the file.
        name: name of the file, for messages.
        skip: called with `name:line` and a reason for each line that does not have this form.

    Returns:
        Dict from image name to captions, in the order of their numbers.
    """
    captions: dict[str, list[tuple[int, str]]] = {}
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            key, separator, caption = line.decode("utf-8").partition("\t")
        except UnicodeDecodeError:
            skip(f"{name}:{number}", "the line is not UTF-8")
            continue
        image, hash_sign, order = key.strip().rpartition("#")
        if not (separator and hash_sign and order.isdigit() and caption.strip()):
            skip(f"{name}:{number}", "the line is not IMAGE#NUMBER<tab>CAPTION")
            continue
        captions.setdefault(image, []).append((int(order), caption.strip()))
    return {image: [text for _, text in sorted(rows, key=lambda row: row[0])] for image, rows in captions.items()}


def read_names(content: bytes) -> list[str]:
    """Reads the names of a list file, one a line, without repetitions. A name that is not UTF-8 matches no image."""
    return list(dict.fromkeys(line.strip() for line in content.decode("utf-8", "replace").splitlines() if line.strip()))


def read_json(content: bytes, path: str | Path, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Parses JSON.

    Args:
        content: bytes of the file.
        path: the file, for messages.
        object_hook: see `json.loads`.

    Raises:
        DataError: the content is not JSON.
    """
    try:
        return json.loads(content, object_hook=object_hook)
    except ValueError as error:
        raise DataError(f"`{path}` is not JSON ({error}); get the file again.") from None


def read_karpathy(content: bytes, path: str | Path, key: str = "filename") -> dict[str, ImageCaptions]:
    """Reads Karpathy's JSON (Karpathy and Li, 2015).

    Args:
        content: bytes of e.g. `dataset_flickr30k.json`.
        path: the file, for messages.
        key: the field with the example's id; if it is absent, the file name is the id.

    Returns:
        Dict from our split to a dict from image name to `(id, captions)`.

    Raises:
        DataError: the content is not in this format.
    """
    parsed = read_json(content, path)
    try:
        splits: dict[str, ImageCaptions] = {}
        for image in parsed["images"]:
            rows = splits.setdefault(KARPATHY_SPLITS[image["split"]], {})
            captions = [sentence["raw"].strip() for sentence in image["sentences"] if sentence["raw"].strip()]
            rows[image["filename"]] = str(image.get(key, image["filename"])), captions
        return splits
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"`{path}` is not in Karpathy's format (images with filename, split and sentences): {error!r} fails."
        ) from None


def hashed_share(names: Iterable[str], share: float, salt: str = "") -> set[str]:
    """Chooses about a share of names by their SHA-256, so the choice of a name does not depend on the other names.

    Of two or more names, at least one is chosen, and never all.

    Args:
        names: the names to choose from.
        share: 0 to 1.
        salt: changes the choice.
    """
    hashes = {name: int.from_bytes(hashlib.sha256(f"{salt}{name}".encode()).digest()[:8]) / 2**64 for name in names}
    chosen = {name for name, value in hashes.items() if value < share}
    if not chosen and len(hashes) > 1:
        chosen = {min(hashes, key=hashes.__getitem__)}
    if chosen and len(chosen) == len(hashes):
        chosen.remove(max(hashes, key=hashes.__getitem__))
    return chosen
