"""Result files in the format of the COCO caption evaluation: `[{"image_id": …, "caption": "…"}, …]`."""

import json
from collections.abc import Mapping
from pathlib import Path


def write_coco_results(path: str | Path, captions: Mapping[str, str]) -> None:
    """Writes captions to a result file.

    Args:
        path: JSON file to write.
        captions: image id to caption. Ids made of digits are written as numbers, as COCO's tools expect.
    """
    rows = [
        {"image_id": int(key) if str(key).isascii() and str(key).isdigit() else key, "caption": caption}
        for key, caption in captions.items()
    ]
    Path(path).write_text(json.dumps(rows, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


def read_coco_results(path: str | Path) -> dict[str, str]:
    """Reads a result file into a dict of image id to caption.

    Raises:
        ValueError: the file is not a JSON list of image ids and captions, or contains an image twice.
    """
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
        pairs = [(str(row["image_id"]), row["caption"]) for row in rows]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f'`{path}` is not a COCO result file, [{{"image_id": …, "caption": "…"}}, …]: '
            f"{type(error).__name__} {error}."
        ) from None
    captions = dict(pairs)
    if len(captions) != len(pairs):
        raise ValueError(f"`{path}` has {len(pairs)} captions for {len(captions)} images; one per image is allowed.")
    return captions
