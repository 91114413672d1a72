"""What the demo page can ask a served model, from the inputs and outputs of its signatures alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from export.client import Client
from export.client.results import OK, Metadata, Signature
from export.errors import ExportError
from vl_keras.data.decoding_worker import DecodingWorker
from vl_keras.drawing.attention_map import fit, overlay_with_scale
from vl_keras.tasks.output_words import Shown, show_outputs

IMAGE = "image_bytes"
_DECODER = DecodingWorker()  # decodes images as models see them, to draw on; ends with the program
_DEFAULT, _EMBEDDING, _SIMILARITY = "serving_default", "embedding", "similarity"
_MAPS = ("tokens", "attention")
_TILE, _SCALE = 360, 26  # pixels of an attention map's longer side, and of the letters of its scale


class Question(NamedTuple):
    """What can be asked for.

    Attributes:
        signatures: names of the signatures to call; the vectors of two are compared.
        inputs: names of the inputs that they take together: `IMAGE` and texts.
        outputs: names of what is shown.
    """

    signatures: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class PageAnswer(NamedTuple):
    """What the page shows.

    Attributes:
        refused: why there is no answer; empty if there is one.
        blocks: outputs, one block for each kind of inputs.
        maps: `(image with its attention map, word)` pairs.
    """

    refused: str
    blocks: Sequence[Sequence[Shown]] = ()
    maps: Sequence[tuple[Image.Image, str]] = ()


def questions(metadata: Metadata) -> dict[str, Question]:
    """What a model can be asked, by name: its signatures, and the similarity of an image and a text.

    A signature belongs to it if each of its inputs is the bytes of an image or a text. If one signature gives a vector
    of an image and another one of a text, of the same length, `similarity` compares the two.

    Raises:
        ExportError: the model has no such signature.
    """
    signatures = metadata.signatures
    found: dict[str, Question] = {}
    for name, signature in signatures.items():
        twins = any(name == _DEFAULT and other != name and signatures[other] == signature for other in signatures)
        if not twins and all(_is_askable(key, info) for key, info in signature.inputs.items()):
            inputs = tuple(sorted(signature.inputs, key=lambda key: key != IMAGE))
            found[name] = Question((name,), inputs, tuple(key for key in signature.outputs if key != "status"))
    if not found:
        lines = "; ".join(f"`{name}` takes {', '.join(each.inputs)}" for name, each in signatures.items())
        raise ExportError(
            f"{metadata.name} has no signature that takes images or texts alone, which a page can send: {lines}."
        )
    vectors = {
        inputs: (name, _length(signatures[name]))
        for name, (_, inputs, outputs) in found.items()
        if _EMBEDDING in outputs and len(inputs) == 1 and _length(signatures[name]) is not None
    }
    if (IMAGE,) in vectors:
        image, length = vectors[IMAGE,]
        for inputs, (name, other_length) in vectors.items():
            if inputs != (IMAGE,) and other_length == length:
                found[_SIMILARITY] = Question((image, name), (IMAGE, *inputs), (_SIMILARITY,))
    return found


def default_questions(metadata: Metadata, known: Mapping[str, Question]) -> list[str]:
    """The questions that the page begins with: those with the inputs of the default signature.

    A question whose outputs another one gives too is left out. Vectors say nothing to people: they are left out beside
    anything else.
    """
    default = metadata.signatures.get(_DEFAULT) or metadata.signatures[next(iter(known.values())).signatures[0]]
    names = [name for name, question in known.items() if set(question.inputs) == set(default.inputs)]
    telling = [name for name in names if known[name].outputs != (_EMBEDDING,)]
    if not telling:
        telling = [name for name, question in known.items() if _EMBEDDING not in question.outputs] or list(known)[:1]
        telling = telling[:1]
    return [
        name for name in telling if not any(set(known[name].outputs) < set(known[other].outputs) for other in telling)
    ]


def needed_inputs(chosen: Iterable[str], known: Mapping[str, Question]) -> list[str]:
    """Names of the inputs that some questions take together, the image first."""
    return list(dict.fromkeys(key for name in chosen for key in known[name].inputs))


def ask(
    client: Client, known: Mapping[str, Question], chosen: Sequence[str], image: str | None, texts: Mapping[str, str]
) -> PageAnswer:
    """Asks a served model.

    Args:
        client: `Client` of the model.
        known: the model's `questions`.
        chosen: names of the ones to ask.
        image: path of an image file, or None.
        texts: dict of input name -> text.

    Returns:
        `PageAnswer`; its `refused` says what is missing, or why the model refused the inputs.

    Raises:
        CallError: a request failed.
    """
    needed = needed_inputs(chosen, known)
    missing = [key for key in needed if not (image if key == IMAGE else texts.get(key, "").strip())]
    if not chosen or missing:
        names = ", ".join("an image" if key == IMAGE else key for key in missing)
        return PageAnswer(f"Give {names}." if chosen else "Choose what to ask for.")
    blocks: list[tuple[tuple[str, ...], dict[str, Any]]] = []
    maps: list[tuple[Image.Image, str]] = []
    for name in chosen:
        outputs, refused = _outputs(client, known[name], image, texts)
        if refused:
            return PageAnswer(refused)
        if image is not None and np.ndim(outputs.get("attention", 0)) == 3 and "tokens" in outputs:
            maps += _maps(image, *(outputs.pop(key) for key in _MAPS))
        _merge(blocks, known[name].inputs, outputs)
    return PageAnswer("", [show_outputs(outputs) for _, outputs in blocks], maps)


def _outputs(
    client: Client, question: Question, image: str | None, texts: Mapping[str, str]
) -> tuple[dict[str, Any], str]:
    """The outputs of a question, and why there are none."""
    rows = []
    signatures = client.metadata().signatures if len(question.signatures) > 1 else {}
    for name in question.signatures:
        keys = signatures[name].inputs if signatures else question.inputs
        own = {key: texts[key] for key in keys if key != IMAGE}
        (row,) = client.predict_rows(
            name, [image] if IMAGE in keys else None, {key: [text] for key, text in own.items()}
        )
        if row["status"] != OK:
            return {}, str(row["status"])
        rows.append({key: value for key, value in row.items() if key != "status"})
    if len(rows) == 1:
        return rows[0], ""
    one, other = (np.asarray(row[_EMBEDDING], np.float64) for row in rows)
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return {_SIMILARITY: float(one @ other) / lengths if lengths else 0.0}, ""


def _merge(
    blocks: list[tuple[tuple[str, ...], dict[str, Any]]], inputs: tuple[str, ...], outputs: dict[str, Any]
) -> None:
    """Adds outputs to the block of the same inputs, unless they contradict it; then they are a block of their own."""
    for known_inputs, known in blocks:
        if known_inputs == inputs and all(_same(known[key], outputs[key]) for key in known.keys() & outputs.keys()):
            known.update(outputs)
            return
    blocks.append((inputs, outputs))


def _same(one: Any, other: Any) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype.kind == "f" and one.shape == other.shape:
        return bool(np.allclose(one, other, atol=1e-4))
    return bool(np.array_equal(one, other))


def _maps(path: str, tokens: Sequence[bytes], attention: np.ndarray) -> list[tuple[Image.Image, str]]:
    words = [token.decode("utf-8", "replace") for token in tokens]
    image = fit(np.asarray(_DECODER.open_image(Path(path).read_bytes(), _TILE)[1]), _TILE)
    weights = np.asarray(attention, np.float32)
    return [
        (overlay_with_scale(image, weights[place], _SCALE), word) for place, word in enumerate(words) if word
    ]  # rows are padded with empty words


def _is_askable(name: str, info: tuple[str, tuple[int | None, ...] | None]) -> bool:
    """Whether an input is one image or one text a row; the bytes of other modalities are not."""
    dtype, shape = info
    return (
        "string" in dtype.lower()
        and shape is not None
        and len(shape) == 1
        and (name == IMAGE or not name.endswith("_bytes"))
    )


def _length(signature: Signature) -> int | None:
    """Length of the vector that a signature gives."""
    shape = signature.outputs.get(_EMBEDDING, ("", None))[1]
    return shape[-1] if shape else None
