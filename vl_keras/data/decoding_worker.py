"""Decodes images in a process of its own: a file on which a decoder crashes costs itself, not the command.

The process that asks needs no TensorFlow.
"""

import pickle
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Any

import numpy as np
from PIL import Image

from vl_keras.data.image_header import image_header
from vl_keras.data.image_headers import formats
from vl_keras.errors import DataError

_LENGTH = struct.Struct("<Q")
Opened = tuple[str, Image.Image] | str  # format and image, or why there is none


class DecodingWorker:
    """Opens images as `open_image` does, in another process, which is started anew whenever it dies.

    To use in a `with` statement. The process starts with the first images.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()  # one request at a time

    def __enter__(self) -> "DecodingWorker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def open_images(self, contents: Sequence[bytes], side: int) -> list[Opened]:
        """`open_image` of each, decoded side by side.

        Args:
            contents: bytes of files whose header is in order.
            side: see `open_image`.

        Returns:
            For each the format's name and the image, or a sentence that says why it cannot be decoded.
        """
        if not contents:
            return []
        with self._lock:
            answer = self._ask(list(contents), side)
        if answer is not None:
            return [
                self._reason(content, formats.BROKEN) if one is None else (one[0], Image.fromarray(one[1]))
                for content, one in zip(contents, answer, strict=True)
            ]
        if len(contents) == 1:
            return [self._reason(contents[0], formats.CRASHED)]
        return [one for content in contents for one in self.open_images([content], side)]

    def open_image(self, content: bytes, side: int) -> tuple[str, Image.Image]:
        """`open_images` of one.

        Raises:
            DataError: it cannot be decoded.
        """
        opened = self.open_images([content], side)[0]
        if isinstance(opened, str):
            raise DataError(opened)
        return opened

    def _ask(self, contents: list[bytes], side: int) -> list[tuple[str, np.ndarray] | None] | None:
        """What the process answers; None if it died."""
        if self._process is None:
            self._process = _start()
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            _send(self._process.stdin, (contents, side))
            return _receive(self._process.stdout)
        except (EOFError, BrokenPipeError):
            self._stop()
            return None

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    @staticmethod
    def _reason(content: bytes, fault: int) -> str:
        return formats.REASONS[fault].format(formats.NAMES[image_header(content).format])


def _start() -> "subprocess.Popen[bytes]":
    """Starts the process; what decoders print on standard error, each in its own way, is not shown."""
    command = [sys.executable, "-m", __name__]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert process.stdout is not None
    try:
        _receive(process.stdout)  # it has imported what it needs
    except EOFError:
        raise DataError(
            f"The process that decodes images ends at its start; see what `{' '.join(command)}` says."
        ) from None
    return process


def _send(pipe: IO[bytes], value: Any) -> None:
    message = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    pipe.write(_LENGTH.pack(len(message)) + message)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    head = pipe.read(_LENGTH.size)
    message = pipe.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else b""
    if not message or len(message) < _LENGTH.unpack(head)[0]:
        raise EOFError
    return pickle.loads(message)


def _serve() -> None:
    """Answers requests on standard input until it ends."""
    import os
    from concurrent.futures import ThreadPoolExecutor

    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no reply

    import tensorflow as tf

    from vl_keras.data.open_image import open_image

    def opened(content: bytes, side: int) -> tuple[str, np.ndarray] | None:
        try:
            kind, image = open_image(content, side)
        except tf.errors.OpError:
            return None
        return kind, np.asarray(image)

    _send(replies, "ready")
    with ThreadPoolExecutor() as pool:
        while True:
            try:
                contents, side = _receive(sys.stdin.buffer)
            except EOFError:
                return
            _send(replies, list(pool.map(lambda content, side=side: opened(content, side), contents)))


if __name__ == "__main__":
    _serve()
