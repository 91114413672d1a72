"""Everything that the two clients share, which is all but how they wait."""

import random
import time
from typing import NamedTuple

import numpy as np

from export.client.address import parse_address
from export.client.call import Call, Failure
from export.client.call_error import CallError
from export.client.grpc_protocol import GrpcProtocol
from export.client.images import OK, image_bytes, is_one
from export.client.rest_protocol import RestProtocol
from export.client.results import Answer, Candidates, Caption, Embedding, Explanation, Match
from export.client.tensors import to_array
from export.errors import ExportError

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_REQUEST_BYTES = 2**26  # of images in one request; a larger one travels alone
_LONGEST_TIMEOUT_S = 2_000_000  # a socket counts its milliseconds in 31 bits


class Send(NamedTuple):
    """A step: exchange this with the server. Is answered with the reply or a `Failure`."""

    call: Call
    timeout: float


class Pause(NamedTuple):
    """A step: wait."""

    seconds: float


class Calls:
    """The calls of a client, as generators of steps that `_run` of `Client` or `AsyncClient` carries out.

    Args:
        url: `grpc://HOST:PORT`, `grpcs://…`, `http://…` or `https://…`; the port may be left out.
        model: its name.
        version: number of the version that shall answer; None: the newest.
        label: of the version that shall answer, instead of a number.
        timeout_s: seconds that each request may take, its retries included; at most 2,000,000.
        retries: how often a request is sent again where the server, or the connection, is UNAVAILABLE (503); the pauses
            between double and are random, so that many clients do not come back together.
        max_batch_size: rows of one request; more are split.
        token: sent as `Authorization: Bearer …`; only over TLS is it secret.
        ca_file, certificate_file, key_file: PEM files for TLS: who signed the server's certificate, if no public
            authority did; and the client's own, where the server asks for one.

    Raises:
        ExportError: an argument cannot be used.
    """

    def __init__(
        self,
        url,
        model="captioner",
        version=None,
        label=None,
        *,
        timeout_s=60.0,
        retries=4,
        max_batch_size=16,
        token=None,
        ca_file=None,
        certificate_file=None,
        key_file=None,
    ):
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
        self._tls = (ca_file, certificate_file, key_file)
        self._single_outputs = {}

    def caption(self, images, context=None):
        """Captions images.

        Args:
            images: a path, file bytes or a PIL image; or an iterable of them.
            context: text that the model reads beside every image, or one for each; for models with the signature
                `caption_with_context`.

        Returns:
            `Caption`, or a list of them. An image that cannot be read, by the client or the server, has a `status`
            that says why, and costs no other.

        Raises:
            CallError: the server gave no answer.
        """
        signature = "caption" if context is None else "caption_with_context"
        return self._rows(signature, images, _caption, {} if context is None else {"context": context})

    def candidates(self, images):
        """The best captions of images; see `caption`. Returns `Candidates`, or a list of them."""
        return self._rows("caption_candidates", images, _candidates)

    def explain(self, images):
        """Captions, and where the model looked for each word; see `caption`. Returns `Explanation`, or a list."""
        return self._rows("caption_explain", images, _explanation)

    def answer(self, images, question):
        """Answers a question, one for all images or one each; see `caption`. Returns `Answer`, or a list of them."""
        return self._rows("answer", images, _answer, {"question": question})

    def match(self, images, text):
        """Whether a text, one for all or one each, is about images; see `caption`. Returns `Match`, or a list."""
        return self._rows("match", images, _match, {"text": text})

    def embed_text(self, texts):
        """A text, or an iterable of them, as vectors beside those of images. Returns `Embedding`, or a list."""
        one = isinstance(texts, str)

        def steps():
            rows = yield from self._predict_rows("embed_text", None, {"text": [texts] if one else list(texts)})
            results = [_embedding(row) for row in rows]
            return results[0] if one else results

        return self._run(steps())

    def embed_image(self, images):
        """Images as vectors; see `caption`. Returns `Embedding`, or a list of them."""
        return self._rows("embed_image", images, _embedding)

    def predict(self, signature, inputs, outputs=None):
        """Any signature of any model, in one request.

        Args:
            signature: its name; empty: the default one.
            inputs: dict of name -> array, or lists of strings, bytes or numbers; see `to_array`.
            outputs: names of those wanted; None: all.

        Returns:
            Dict of name -> array; strings are objects of bytes. Over REST, numbers are float64, int64 or bool.

        Raises:
            CallError: the server gave no answer.
        """
        return self._run(self._predict(signature, {name: to_array(value) for name, value in inputs.items()}, outputs))

    def predict_rows(self, signature, images, texts=None):
        """Any signature that takes images, many at once; an image that cannot be read costs itself.

        Args:
            signature: its name; empty: the default one.
            images: iterable of paths, file bytes or PIL images; None for a signature without images.
            texts: dict of input name -> a string for every row, or one for each.

        Returns:
            A list of dicts of output name -> that row's part, each with `status`.
        """
        return self._run(self._predict_rows(signature, images, texts or {}))

    def status(self):
        """List of `VersionStatus`, the newest version first."""
        return self._run(self._ask(self._protocol.status()))

    def metadata(self):
        """`Metadata`: the version that answers, and its signatures."""
        return self._run(self._ask(self._protocol.metadata()))

    def wait_until_available(self, timeout_s=60.0):
        """Waits until the model answers, whether the server is not there yet or still loads it.

        Returns:
            List of `VersionStatus`.

        Raises:
            CallError: it does not answer within that time; the message has the last reason.
        """
        return self._run(self._wait(timeout_s))

    def _rows(self, signature, images, read, texts=None):
        one = is_one(images)

        def steps():
            rows = yield from self._predict_rows(signature, [images] if one else images, texts or {})
            results = [read(row) for row in rows]
            return results[0] if one else results

        return self._run(steps())

    def _predict_rows(self, signature, images, texts):
        contents, statuses = None, None
        if images is not None:
            read = [image_bytes(image) for image in images]
            contents, statuses = [data for data, _ in read], [status for _, status in read]
        texts = {name: text if isinstance(text, str) else list(text) for name, text in texts.items()}
        count = _count(contents, texts)
        columns = {name: [text] * count if isinstance(text, str) else text for name, text in texts.items()}
        if contents is not None:
            columns["image_bytes"] = contents
        rows = [{"status": status} for status in statuses or [OK] * count]
        for batch in self._batches(rows, contents):
            inputs = {name: to_array([values[row] for row in batch]) for name, values in columns.items()}
            outputs = yield from self._predict(signature, inputs, None)
            for place, row in enumerate(batch):
                rows[row] = {"status": OK, **{name: value[place] for name, value in outputs.items()}}
                if isinstance(rows[row]["status"], bytes):
                    rows[row]["status"] = rows[row]["status"].decode("utf-8", "replace")
        return rows

    def _batches(self, rows, contents):
        """Lists of row numbers, each for one request."""
        batch, size = [], 0
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

    def _predict(self, signature, inputs, outputs):
        answer = yield from self._ask(self._protocol.predict(signature, inputs, outputs))
        if isinstance(answer, dict):
            return answer
        key = signature or "serving_default"
        if key not in self._single_outputs:
            metadata = yield from self._ask(self._protocol.metadata())
            self._single_outputs[key] = next(iter(metadata.signatures[key].outputs))
        return {self._single_outputs[key]: answer}

    def _ask(self, call, timeout_s=None, retries=None):
        deadline = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        for attempt in range((self._retries if retries is None else retries) + 1):
            reply = yield Send(call, max(0.001, deadline - time.monotonic()))
            if not isinstance(reply, Failure):
                try:
                    return call.read(reply)
                except ValueError as error:
                    raise CallError("INTERNAL", str(error)) from error
            pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt) * random.uniform(0.5, 1)
            if reply.code != "UNAVAILABLE" or time.monotonic() + pause >= deadline:
                break
            yield Pause(pause)
        raise CallError(*reply)

    def _wait(self, timeout_s):
        deadline = time.monotonic() + timeout_s
        reason, pause = "it was not asked", 0.05
        while (left := deadline - time.monotonic()) > 0:
            try:
                found = yield from self._ask(self._protocol.status(), timeout_s=min(left, 5.0), retries=0)
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


def _count(contents, texts):
    counts = {name: len(text) for name, text in texts.items() if not isinstance(text, str)}
    if contents is not None:
        counts["images"] = len(contents)
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"There must be as many of each; got {', '.join(f'{n} {name}' for name, n in counts.items())}."
        )
    return next(iter(counts.values()), 1)


def _caption(row):
    if row["status"] != OK:
        return Caption(row["status"])
    return Caption(OK, _text(row["caption"]), float(np.float32(row["score"])))


def _candidates(row):
    if row["status"] != OK:
        return Candidates(row["status"])
    return Candidates(OK, tuple(map(_text, row["captions"])), tuple(np.asarray(row["scores"], np.float32).tolist()))


def _explanation(row):
    if row["status"] != OK:
        return Explanation(row["status"])
    words = [_text(word) for word in row["tokens"]]
    while words and not words[-1]:  # every row is as long as the longest caption may be
        words.pop()
    attention = np.asarray(row["attention"], np.float32)[: len(words)]
    return Explanation(OK, _text(row["caption"]), float(np.float32(row["score"])), tuple(words), attention)


def _answer(row):
    if row["status"] != OK:
        return Answer(row["status"])
    scores = tuple(np.asarray(row["scores"], np.float32).tolist())
    score = float(np.float32(row["score"]))
    return Answer(OK, _text(row["answer"]), score, tuple(map(_text, row["answers"])), scores)


def _match(row):
    if row["status"] != OK:
        return Match(row["status"])
    return Match(OK, float(np.float32(row["probability"])))


def _embedding(row):
    if row["status"] != OK:
        return Embedding(row["status"])
    return Embedding(OK, np.asarray(row["embedding"], np.float32))


def _text(data):
    return data.decode("utf-8", "replace")
