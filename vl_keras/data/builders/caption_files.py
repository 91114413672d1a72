"""Caption files of published formats: token files, Karpathy's JSON, and splits that follow from a hash."""

import hashlib
import json

from vl_keras.errors import DataError

# Karpathy's split names; "restval" are validation images that everybody trains on.
KARPATHY_SPLITS = {"train": "train", "restval": "train", "val": "dev", "test": "test"}


def read_tokens(content, name, skip):
    """Captions of a Flickr token file, lines of `IMAGE#NUMBER<tab>CAPTION`, as dict from image name to list.

    Lines that do not have this form go to `skip(name:line, reason)`.
    """
    captions = {}
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


def read_names(content):
    """The names of a list file, one a line, each once, in order; bytes that are not UTF-8 make a name of no image."""
    return list(dict.fromkeys(line.strip() for line in content.decode("utf-8", "replace").splitlines() if line.strip()))


def read_json(content, path, object_hook=None):
    """Parsed JSON; raises `DataError` that names `path`. `object_hook` as of `json.loads`."""
    try:
        return json.loads(content, object_hook=object_hook)
    except ValueError as error:
        raise DataError(f"`{path}` is no JSON ({error}); get the file again.") from None


def read_karpathy(content, path, key="filename"):
    """Karpathy's JSON (Karpathy and Li, 2015) as dict from our split to dict from image name to `(id, captions)`.

    Args:
        content: bytes of e.g. `dataset_flickr30k.json`.
        path: where they come from, for messages.
        key: the field that is the example's id; the file name stands in where it is absent.
    """
    parsed = read_json(content, path)
    try:
        splits = {}
        for image in parsed["images"]:
            rows = splits.setdefault(KARPATHY_SPLITS[image["split"]], {})
            captions = [sentence["raw"].strip() for sentence in image["sentences"] if sentence["raw"].strip()]
            rows[image["filename"]] = str(image.get(key, image["filename"])), captions
        return splits
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"`{path}` is not in Karpathy's format (images with filename, split and sentences): {error!r} fails."
        ) from None


def hashed_share(names, share, salt=""):
    """About `share` of `names`, chosen by their SHA-256, so that a name stays chosen when others come or go.

    At least one where there are two or more names, and never all.
    """
    hashes = {name: int.from_bytes(hashlib.sha256(f"{salt}{name}".encode()).digest()[:8]) / 2**64 for name in names}
    chosen = {name for name, value in hashes.items() if value < share}
    if not chosen and len(hashes) > 1:
        chosen = {min(hashes, key=hashes.get)}
    if chosen and len(chosen) == len(hashes):
        chosen.remove(max(hashes, key=hashes.get))
    return chosen
