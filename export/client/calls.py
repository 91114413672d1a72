"""The calls of both clients. The clients differ only in how they wait."""

import random
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from export.client import typed_rows
from export.client.address import parse_address
from export.client.call import BAD_RESPONSE, Call, Failure
from export.client.call_error import CallError
from export.client.grpc_protocol import GrpcProtocol
from export.client.images import OK, Image, image_bytes, is_one
from export.client.rest_protocol import RestProtocol
from export.client.tensors import to_array
from export.client.typed_rows import Row
from export.errors import ExportError

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_REQUEST_BYTES = 2**26  # of images in one request; a larger image is sent alone
_LONGEST_TIMEOUT_S = 2_000_000  # sockets store milliseconds in 31 bits


Result = Any  # `Client` returns the documented type, `AsyncClient` an awaitable of it


class Send(NamedTuple):
    """A step: send a request. The client sends the response or a `Failure` back into the generator."""

    call: Call
    timeout: float


class Pause(NamedTuple):
    """A step: sleep."""

    seconds: float


Steps = Generator[Send | Pause, Any, Any]  # returns the result of the call


class Calls:
    """The calls of a client, as generators of steps that `Client` or `AsyncClient` execute.

    Args:
        url: `grpc://HOST:PORT`, `grpcs://…`, `http://…` or `https://…`; the port is optional.
        model: name of the model.
        version: number of the version to use; None: the newest.
        label: label of the version to use, instead of its number.
        timeout_s: time limit of each request including its retries; at most 2,000,000 seconds.
        retries: how often a request is sent again if the server or the connection is UNAVAILABLE (503). The pauses
            between retries double and are randomised, so that many clients do not retry at the same time.
        max_batch_size: maximum number of rows per request; longer inputs are split.
        token: sent as `Authorization: Bearer …`; it is secret only over TLS.
        ca_file: PEM file with the authority of the server certificate, unless it is a public one.
        certificate_file, key_file: PEM files with the client certificate, if the server requires one.
        max_response_bytes: limit for a response; a larger one is a `CallError`.

    Raises:
        ExportError: an argument is invalid.
    """

    def __init__(
        self,
        url: str,
        model: str = "captioner",
        version: int | None = None,
        label: str | None = None,
        *,
        timeout_s: float = 60.0,
        retries: int = 4,
        max_batch_size: int = 16,
        token: str | None = None,
        ca_file: str | Path | None = None,
        certificate_file: str | Path | None = None,
        key_file: str | Path | None = None,
        max_response_bytes: int = 2**28,
    ) -> None:
        if version is not None and label is not None:
            raise ExportError(f"Give a version or a label, not both; got {version} and {label!r}.")
        if max_batch_size < 1 or not 0 < timeout_s <= _LONGEST_TIMEOUT_S or retries < 0:
            raise ExportError(
                f"`max_batch_size` must be at least 1, `timeout_s` above 0 and at most {_LONGEST_TIMEOUT_S} and "
                f"`retries` at least 0; got {max_batch_size}, {timeout_s} and {retries}."
            )
        if token is not None and not (token.isascii() and token.isprintable()):
            raise ExportError("`token` must be one line of printable ASCII: it travels in a header.")
        self.address = parse_address(url)
        self.model = model
        self._protocol = (GrpcProtocol if self.address.is_grpc else RestProtocol)(model, version, label)
        self._version = version
        self._timeout_s, self._retries, self._max_batch_size = timeout_s, retries, max_batch_size
        name = "authorization" if self.address.is_grpc else "Authorization"
        self._headers = {} if token is None else {name: f"Bearer {token}"}
        self._max_response_bytes = max_response_bytes
        self._tls = (ca_file, certificate_file, key_file)
        self._single_outputs: dict[str, str] = {}

    def caption(self, images: Image | Iterable[Image], context: str | Iterable[str] | None = None) -> Result:
        """Captions images.

        Args:
            images: a path, file contents or a PIL image; or an iterable of them.
            context: a text that the model reads with every image, or one per image; for models with the signature
                `caption_with_context`.

        Returns:
            `Caption`, or a list of them. If an image cannot be read, its `status` says why; the others are not
            affected.

        Raises:
            CallError: the request failed.
        """
        signature = "caption" if context is None else "caption_with_context"
        return self._rows(signature, images, typed_rows.caption, {} if context is None else {"context": context})

    def candidates(self, images: Image | Iterable[Image]) -> Result:
        """Predicts several captions per image; see `caption`. Returns `Candidates` or a list of them."""
        return self._rows("caption_candidates", images, typed_rows.candidates)

    def explain(self, images: Image | Iterable[Image]) -> Result:
        """Captions with the attention weights of each word; see `caption`. Returns `Explanation` or a list of them."""
        return self._rows("caption_explain", images, typed_rows.explanation)

    def answer(self, images: Image | Iterable[Image], question: str | Iterable[str]) -> Result:
        """Answers one question for all images, or one per image; see `caption`. Returns `Answer` or a list of them."""
        return self._rows("answer", images, typed_rows.answer, {"question": question})

    def match(self, images: Image | Iterable[Image], text: str | Iterable[str]) -> Result:
        """Matches images with one text, or one text per image; see `caption`. Returns `Match` or a list of them."""
        return self._rows("match", images, typed_rows.match, {"text": text})

    def embed_text(self, texts: str | Iterable[str]) -> Result:
        """Embeds a text, or an iterable of texts, in the space of the images. Returns `Embedding` or a list of them."""
        one = isinstance(texts, str)
        column = [texts] if isinstance(texts, str) else list(texts)

        def steps() -> Steps:
            rows = yield from self._predict_rows("embed_text", None, {"text": column})
            results = [typed_rows.read_row(typed_rows.embedding, row) for row in rows]
            return results[0] if one else results

        return self._run(steps())

    def embed_image(self, images: Image | Iterable[Image]) -> Result:
        """Embeds images; see `caption`. Returns `Embedding` or a list of them."""
        return self._rows("embed_image", images, typed_rows.embedding)

    def predict(self, signature: str, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> Result:
        """Calls any signature of any model, in one request.

        Args:
            signature: name of the signature; empty: the default one.
            inputs: dict of name -> array or nested lists of strings, bytes or numbers; see `to_array`.
            outputs: names of the outputs to return; None: all.

        Returns:
            Dict of name -> array; strings are object arrays of bytes. Over REST, numbers are float64, int64 or bool.

        Raises:
            CallError: the request failed.
        """
        return self._run(self._predict(signature, {name: to_array(value) for name, value in inputs.items()}, outputs))

    def predict_rows(
        self, signature: str, images: Iterable[Image] | None, texts: Mapping[str, str | Iterable[str]] | None = None
    ) -> Result:
        """Calls any signature with images and texts; inputs of any length are split into requests.

        Args:
            signature: name of the signature; empty: the default one.
            images: paths, file contents or PIL images; None for a signature without images.
            texts: dict of input name -> one string for all rows, or one string per row.

        Returns:
            One dict of output name -> value per row, each with `status`. If an image cannot be read, only its row
            fails.

        Raises:
            CallError: a request failed.
        """
        return self._run(self._predict_rows(signature, images, texts or {}))

    def status(self) -> Result:
        """The status of all versions: list of `VersionStatus`, newest first."""
        return self._run(self._exchange(self._protocol.status()))

    def metadata(self) -> Result:
        """The version in use and its signatures: `Metadata`."""
        return self._run(self._exchange(self._protocol.metadata()))

    def wait_until_available(self, timeout_s: float = 60.0) -> Result:
        """Waits until the server runs and the model is loaded.

        Args:
            timeout_s: time limit in seconds.

        Returns:
            List of `VersionStatus`.

        Raises:
            CallError: the model is not available within that time; the message contains the last error.
        """
        return self._run(self._wait(timeout_s))

    def _run(self, steps: Steps) -> Result:
        """Executes the steps of a call."""
        raise NotImplementedError

    def _rows(
        self,
        signature: str,
        images: Image | Iterable[Image],
        read: Callable[[Row], Any],
        texts: Mapping[str, str | Iterable[str]] | None = None,
    ) -> Result:
        one = is_one(images)

        def steps() -> Steps:
            rows = yield from self._predict_rows(signature, [images] if one else images, texts or {})
            results = [typed_rows.read_row(read, row) for row in rows]
            return results[0] if one else results

        return self._run(steps())

    def _predict_rows(
        self, signature: str, images: Iterable[Image] | None, texts: Mapping[str, str | Iterable[str]]
    ) -> Steps:
        contents, statuses = None, None
        if images is not None:
            read = [image_bytes(image) for image in images]
            contents, statuses = [data for data, _ in read], [status for _, status in read]
        given = {name: text if isinstance(text, str) else list(text) for name, text in texts.items()}
        count = _count(contents, given)
        columns: dict[str, list[Any]] = {
            name: [text] * count if isinstance(text, str) else text for name, text in given.items()
        }
        if contents is not None:
            columns["image_bytes"] = contents
        rows: list[Row] = [{"status": status} for status in statuses or [OK] * count]
        for batch in self._batches(rows, contents):
            inputs = {name: to_array([values[row] for row in batch]) for name, values in columns.items()}
            outputs = yield from self._predict(signature, inputs, None)
            for name, value in outputs.items():
                if len(np.shape(value)) == 0 or len(value) != len(batch):
                    raise typed_rows.not_a_model(f"output {name!r} has shape {np.shape(value)} for {len(batch)} rows")
            for place, row in enumerate(batch):
                rows[row] = {"status": OK, **{name: value[place] for name, value in outputs.items()}}
                if isinstance(rows[row]["status"], bytes):
                    rows[row]["status"] = rows[row]["status"].decode("utf-8", "replace")
        return rows

    def _batches(self, rows: Sequence[Row], contents: Sequence[bytes] | None) -> Iterator[list[int]]:
        """Splits the rows into requests: lists of row numbers."""
        batch: list[int] = []
        size = 0
        for row, known in enumerate(rows):
            if known["status"] != OK:
                continue
            length = len(contents[row]) if contents is not None else 0
            if batch and (len(batch) == self._max_batch_size or size + length > _REQUEST_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(row)
            size += length
        if batch:
            yield batch

    def _predict(self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> Steps:
        outputs_or_only = yield from self._exchange(self._protocol.predict(signature, inputs, outputs))
        if isinstance(outputs_or_only, dict):
            return outputs_or_only
        key = signature or "serving_default"
        if key not in self._single_outputs:
            metadata = yield from self._exchange(self._protocol.metadata())
            signature_found = metadata.signatures.get(key)
            if signature_found is None or len(signature_found.outputs) != 1:
                raise typed_rows.not_a_model(
                    f"it has one output, but the metadata does not name it in signature {key!r}"
                )
            self._single_outputs[key] = next(iter(signature_found.outputs))
        return {self._single_outputs[key]: outputs_or_only}

    def _exchange(self, call: Call, timeout_s: float | None = None, retries: int | None = None) -> Steps:
        deadline = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        for attempt in range((self._retries if retries is None else retries) + 1):
            response = yield Send(call, max(0.001, deadline - time.monotonic()))
            if not isinstance(response, Failure):
                try:
                    return call.read(response)
                except BAD_RESPONSE as error:
                    raise CallError("INTERNAL", str(error) or type(error).__name__) from error
            pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt) * random.uniform(0.5, 1)
            if response.code != "UNAVAILABLE" or time.monotonic() + pause >= deadline:
                break
            yield Pause(pause)
        raise CallError(*response)

    def _wait(self, timeout_s: float) -> Steps:
        deadline = time.monotonic() + timeout_s
        reason, pause = "no request was sent", 0.05
        while (left := deadline - time.monotonic()) > 0:
            try:
                found = yield from self._exchange(self._protocol.status(), timeout_s=min(left, 5.0), retries=0)
            except CallError as error:
                if error.code not in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "NOT_FOUND"):
                    raise
                reason = str(error)
            else:
                if any(each.state == "AVAILABLE" for each in found):
                    return found
                reason = "; ".join(f"version {each.version} is {each.state} {each.message}".strip() for each in found)
            yield Pause(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(1.0, pause * 1.5)
        raise CallError("DEADLINE_EXCEEDED", f"{self.model} is not available after {timeout_s:g} s: {reason}")


def _count(contents: Sequence[bytes] | None, texts: Mapping[str, str | list[str]]) -> int:
    counts = {name: len(text) for name, text in texts.items() if not isinstance(text, str)}
    if contents is not None:
        counts["images"] = len(contents)
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"All inputs must have the same length; got {', '.join(f'{n} {name}' for name, n in counts.items())}."
        )
    return next(iter(counts.values()), 1)
