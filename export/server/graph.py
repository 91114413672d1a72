"""A SavedModel's graph in a session."""

import gc
import hashlib
import json
import math
import re
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.client import pywrap_tf_session

from export.server.serving_error import ServingError

_MANIFEST = "manifest.json"
_MOST_CALLS = 32  # a client chooses the outputs, so their combinations must have a bound
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Graph:
    """A SavedModel's graph in a session of its own.

    The session loader takes every valid SavedModel, of TensorFlow 1 and 2 alike, as the one of TensorFlow Serving does.

    Attributes:
        signatures: dict of name -> `SignatureDef`.
    """

    def __init__(self, session, signatures):
        self.signatures = signatures
        self._session = session
        self._calls, self._more_calls = {}, {}
        self._lock = threading.Lock()

    @classmethod
    def load(cls, path, tags=("serve",), config=None):
        """Loads a version's folder; takes as long as it takes, so not on the event loop.

        Args:
            path: folder with `saved_model.pb`. Where it has a `manifest.json` with SHA-256 sums of its files, these are
                compared first: a flipped bit in a graph need not keep it from loading.
            tags: of the graph.
            config: `ConfigProto` of the session.

        Raises:
            ServingError: it cannot be loaded; the code as TensorFlow Serving's, no path of this machine in the text.
        """
        path = Path(path)
        session = None
        try:
            _check_manifest(path)
            graph = tf.Graph()
            session = tf.compat.v1.Session(graph=graph, config=config)
            with graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(session, list(tags), str(path))
            signatures = {name: meta_graph.signature_def[name] for name in meta_graph.signature_def}
            # Of their size, only the signatures are needed: the rest of the message would double the weights.
            signatures = {name: type(each).FromString(each.SerializeToString()) for name, each in signatures.items()}
            return cls(session, signatures)
        except Exception as error:
            if session is not None:
                session.close()
            raise _load_error(error, path) from error

    def run(self, feeds, fetches, deadline=None):
        """Runs the graph.

        Args:
            feeds: dict of tensor name -> array.
            fetches: tensor names.
            deadline: time (`time.monotonic()`) at which the run is stopped, between two of its operations; None: never.
                It holds for the first 32 combinations of feeds and fetches that are asked for.

        Returns:
            Dict of tensor name -> array.

        Raises:
            ServingError: what the graph raised, with its code; DEADLINE_EXCEEDED where it was stopped.
        """
        key = (tuple(sorted(feeds)), tuple(sorted(set(fetches))))
        try:
            values = self._callable(*key)([feeds[name] for name in key[0]], deadline)
            return {name: _as_array(value) for name, value in zip(key[1], values, strict=True)}
        except tf.errors.OpError as error:
            raise ServingError(_code(error.error_code), error.message) from error
        except (ValueError, TypeError, KeyError) as error:  # the signature names what the graph has not
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error

    def close(self):
        """Frees the session's memory; nothing must run any more."""
        with self._lock:
            self._calls.clear()
            self._more_calls.clear()  # they release their part of the session, so before it
        self._session.close()
        self._session = None
        gc.collect()  # graphs are full of cycles

    def _callable(self, feeds, fetches):
        """Function of arrays and a deadline to arrays.

        None is `Session.run`, which refuses shapes that the kernels, and so TensorFlow Serving, would take.
        """
        key = (feeds, fetches)
        call = self._calls.get(key) or self._more_calls.get(key)
        if call is None:
            with self._lock:
                call = self._calls.get(key) or self._more_calls.get(key)
                if call is None and len(self._calls) < _MOST_CALLS:
                    call = self._calls[key] = self._limited_call(feeds, fetches)
                elif call is None:
                    call = self._released_call(feeds, fetches)
                    if len(self._more_calls) >= _MOST_CALLS:
                        self._more_calls.pop(next(iter(self._more_calls)))
                    self._more_calls[key] = call
        return call

    def _limited_call(self, feeds, fetches):
        """What the session prepares for it, it keeps until it is closed."""
        try:
            fed, fetched = [self._endpoint(name) for name in feeds], [self._endpoint(name) for name in fetches]
        except (KeyError, ValueError):  # the graph has not what the signature names
            return self._released_call(feeds, fetches)  # whose error is TensorFlow Serving's

        def call(values, deadline):
            options = config_pb2.RunOptions()
            if deadline is not None:
                options.timeout_in_ms = max(math.ceil(1e3 * (deadline - time.monotonic())), 1)
            buffer = pywrap_tf_session.TF_NewBufferFromString(options.SerializeToString())
            try:
                feed = dict(zip(fed, values, strict=True))
                return pywrap_tf_session.TF_SessionRun_wrapper(self._session._session, buffer, feed, fetched, [], None)
            finally:
                pywrap_tf_session.TF_DeleteBuffer(buffer)

        return call

    def _endpoint(self, name):
        tensor = self._session.graph.get_tensor_by_name(name if ":" in name else f"{name}:0")
        return tensor._as_tf_output()

    def _released_call(self, feeds, fetches):
        """What the session prepares for it is released with it, but it knows no deadline."""
        call = self._session._make_callable_from_options(config_pb2.CallableOptions(feed=feeds, fetch=fetches))
        return lambda values, deadline: call(*values)


def _as_array(value):
    """The session gives a single string as bytes."""
    if isinstance(value, bytes):
        array = np.empty((), object)
        array[()] = value
        return array
    return np.asarray(value)


def _check_manifest(path):
    try:
        files = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))["files"]
        sums = {str(name): str(expected) for name, expected in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # not one of ours, or none
    if not all(re.fullmatch("[0-9a-f]{64}", expected) for expected in sums.values()):
        return
    for name, expected in sums.items():
        try:
            with open(path / name, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"{name}, which {_MANIFEST} lists, is missing.") from None
        if found != expected:
            raise ServingError(grpc.StatusCode.DATA_LOSS, f"{name} is not the file that {_MANIFEST} describes.")


def _load_error(error, path):
    if isinstance(error, ServingError):
        return error
    status = grpc.StatusCode
    if isinstance(error, tf.errors.OpError):
        code, text = _code(error.error_code), error.message
        if code is status.UNKNOWN and "No such file" in text:
            code = status.NOT_FOUND
    elif isinstance(error, OSError):
        # Of these the loader raises two: it is no SavedModel, or there is no file.
        if "parse" in str(error):
            is_text = "saved_model.pbtxt" in str(error)
            name, kind = ("saved_model.pbtxt", "text") if is_text else ("saved_model.pb", "binary")
            code, text = status.DATA_LOSS, f"Can't parse {path / name} as {kind} proto"
        else:
            code = status.NOT_FOUND
            text = (
                f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}. Check that the "
                "directory exists and that you have the right permissions for accessing it."
            )
    elif isinstance(error, (DecodeError, UnicodeDecodeError)):
        code, text = status.DATA_LOSS, f"saved_model.pb cannot be read: {error}"
    elif isinstance(error, RuntimeError) and "tags" in str(error):
        code, text = status.NOT_FOUND, f"Could not find meta graph def matching supplied tags: {error}"
    elif isinstance(error, ValueError) and "checkpoint" in str(error):
        code, text = status.NOT_FOUND, f"The variables are missing: {error}"
    elif isinstance(error, (ValueError, TypeError, KeyError)):
        code, text = status.INVALID_ARGUMENT, str(error)
    else:
        code, text = status.INTERNAL, f"{type(error).__name__}: {error}"
    text = text.removeprefix("Graph execution error:").strip()
    return ServingError(code, f"Cannot load the SavedModel: {text.replace(str(path), path.name)}")


def _code(number):
    return _CODES.get(number, grpc.StatusCode.UNKNOWN)
