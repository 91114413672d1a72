"""Sends image files and texts to a served model."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from export.client import Client
from export.client.results import OK, Metadata
from export.errors import ExportError
from vl_keras.data.decoding_worker import DecodingWorker
from vl_keras.data.image_files import drawing_paths, find_images
from vl_keras.errors import RunError, printable

_DEFAULT = "serving_default"
_DRAWN_SIDE = 512  # pixels each way of an image that attention is drawn over, at least
_MOST_LINES = 20  # of one output of an image in the table


def request(
    url: str,
    images: Iterable[str | Path] = (),
    texts: Mapping[str, str] | None = None,
    signature: str | None = None,
    explain: str | Path | None = None,
    wait_s: float = 0.0,
    **options: Any,
) -> list[dict[str, Any]]:
    """Sends images and texts to a served model.

    Args:
        url: `grpc://HOST:PORT`, `http://HOST:PORT`, or with TLS `grpcs://`, `https://`.
        images: files and folders; folders are searched for images at any depth.
        texts: dict of input name -> the string to send with every image, e.g. `{"context": "…"}`; any text input of the
            signature.
        signature: name of the signature; None: the default one if it has exactly these inputs, else the only one that
            has.
        explain: PNG file for the attention weights of each word; the signature is then `caption_explain`. For several
            images there is one file each, with the name of the image before the extension.
        wait_s: seconds to wait for the model to become available.
        options: arguments of `Client`: `model`, `version`, `label`, `timeout_s`, `token`, `ca_file`, ….

    Returns:
        One dict per image (or one dict, if only texts are sent): `image`, `status`, and the outputs as Python values;
        `explanation` is the path of the PNG.

    Raises:
        ExportError: there is nothing to send, the model has no such signature, the request failed, or `explain` would
            overwrite one of the images.
    """
    paths = find_images(images)
    texts = dict(texts or {})
    if images and not paths:
        raise ExportError(f"There is no image in {', '.join(map(printable, images))}.")
    if not paths and not texts:
        raise ExportError("There is nothing to send: give --image or a text.")
    if explain is not None and Path(explain).suffix.lower() != ".png":
        raise ExportError(f"An explanation is a PNG file, but `{explain}` does not end in .png.")
    try:
        drawings = drawing_paths(explain, paths)
    except RunError as error:
        raise ExportError(str(error)) from error
    given = {*texts, *(["image_bytes"] if paths else [])}
    with Client(url, **options) as client:
        if wait_s:
            client.wait_until_available(wait_s)
        signature = _choose(client.metadata(), signature or ("caption_explain" if explain else None), given)
        rows = client.predict_rows(signature, paths or None, texts)
    results = []
    with DecodingWorker() as worker:
        for place, row in enumerate(rows):
            result = {"image": str(paths[place])} if paths else {}
            if row["status"] == OK and drawings:
                draw_attention(row, paths[place], drawings[place], worker)
                row = {**row, "explanation": str(drawings[place])}
            results.append(result | {name: _plain(value) for name, value in row.items()})
    return results


def draw_attention(row: Mapping[str, Any], path: str | Path, drawing: str | Path, worker: DecodingWorker) -> None:
    """Draws the output of `caption_explain` for one image, over what the model saw, which `worker` decodes."""
    from vl_keras.drawing.attention_drawing import draw_explanation

    words = [word for word in map(_plain, row["tokens"]) if word]
    image = np.asarray(worker.open_image(Path(path).read_bytes(), _DRAWN_SIDE)[1])
    explanation = SimpleNamespace(
        caption=_plain(row["caption"]),
        words=words,
        attention=np.asarray(row["attention"], np.float32)[: len(words)],
        probabilities=None,
        grad_cam=None,
    )
    draw_explanation(explanation, image, drawing, Path(path).name)


def format_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """Formats the result of `request` as a table: name of the image, strings, numbers; one candidate per line.

    Control characters of names and strings are escaped.
    """
    table = []
    for row in rows:
        name = printable(Path(row["image"]).name) if "image" in row else ""
        if row["status"] != OK:
            table.append((name, printable(row["status"])))
            continue
        outputs = {key: value for key, value in row.items() if key not in ("image", "status")}
        columns = [_lines(key, value) for key, value in _strings_first(outputs)]
        height = max(map(len, columns), default=1)
        cells = zip(*([*column, *[""] * (height - len(column))] for column in columns), strict=True)
        table += [(name if number == 0 else "", *line) for number, line in enumerate(cells)]
    widths = [max(len(line[place]) for line in table if len(line) > place + 1) for place in range(_widest(table) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False)), line[-1]]).rstrip()
        for line in table
    )


def _widest(table: Sequence[Sequence[str]]) -> int:
    return max(map(len, table), default=1)


def _strings_first(outputs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    def rank(item: tuple[str, Any]) -> bool:
        value = item[1]
        while isinstance(value, list) and value:
            value = value[0]
        return not isinstance(value, str)

    return sorted(outputs.items(), key=rank)


def _lines(name: str, value: Any) -> list[str]:
    if isinstance(value, str):
        return [printable(value)]
    if not isinstance(value, list):
        return [f"{value:.4f}" if isinstance(value, float) else str(value)]
    shape = np.shape(value)
    if name == "tokens":
        return [" ".join(printable(word) for word in value if word)]
    if len(shape) == 1 and len(value) <= _MOST_LINES:
        return [line for item in value for line in _lines("", item)]
    return [f"{printable(name)}: {' x '.join(map(str, shape))} values"]


def _choose(metadata: Metadata, wanted: str | None, given: set[str]) -> str:
    """Chooses the signature to call."""
    known = {name: set(signature.inputs) for name, signature in metadata.signatures.items()}
    if wanted is not None:
        if wanted not in known:
            raise ExportError(f"{metadata.name} has no signature `{wanted}`; it has {', '.join(known)}.")
        if known[wanted] != given:
            raise ExportError(f"`{wanted}` takes {_names(known[wanted])}; given: {_names(given)}.")
        return wanted
    if known.get(_DEFAULT) == given:
        return _DEFAULT
    fitting = [name for name, inputs in known.items() if inputs == given]
    if len(fitting) == 1:
        return fitting[0]
    lines = "; ".join(f"`{name}` takes {_names(inputs)}" for name, inputs in known.items())
    why = f"{len(fitting)} signatures take" if fitting else "no signature takes"
    raise ExportError(f"{why[0].upper()}{why[1:]} {_names(given)}; choose one with --signature: {lines}.")


def _names(names: Iterable[str]) -> str:
    return " and ".join(sorted(names))


def _plain(value: Any) -> Any:
    """An output as plain Python value: text, number or list."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value] if value.dtype == object else value.tolist()
    return value.item() if isinstance(value, np.generic) else value
