"""The graph of a SavedModel in a session."""

import gc
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.client import pywrap_tf_session
from tensorflow.python.saved_model import loader_impl

from export.manifest import ManifestError, check_manifest
from export.server.serving_error import ServingError

_MOST_CALLS = 32  # cached callables; clients choose the outputs, so the number of combinations needs a bound
_CODES = {code.value[0]: code for code in grpc.StatusCode}


_Key = tuple[tuple[str, ...], tuple[str, ...]]  # names of the tensors fed and fetched
_Call = Callable[[Sequence[np.ndarray], float | None], Sequence[Any]]  # arrays and a deadline -> arrays


class Graph:
    """The graph of a SavedModel, in its own session.

    Like TensorFlow Serving, the session loader accepts every valid SavedModel of TensorFlow 1 and 2.

    Attributes:
        signatures: dict of name -> `SignatureDef`.
    """

    def __init__(self, session: tf.compat.v1.Session, signatures: dict[str, meta_graph_pb2.SignatureDef]) -> None:
        self.signatures = signatures
        self._session = session
        self._calls: dict[_Key, _Call] = {}
        self._more_calls: dict[_Key, _Call] = {}
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        path: str | Path,
        tags: Sequence[str] = ("serve",),
        config: config_pb2.ConfigProto | None = None,
        check: Callable[[meta_graph_pb2.MetaGraphDef], object] | None = None,
    ) -> Self:
        """Loads the folder of a version. This may take long; do not call it on the event loop.

        Args:
            path: folder with `saved_model.pb`. If it has a `manifest.json` with SHA-256 sums of the files, they are
                checked first, because a graph with a flipped bit may
                still load.
            tags: tags of the graph.
            config: configuration of the session.
            check: called with the graph before any of it runs; may raise `ServingError`.

        Raises:
            ServingError: it cannot be loaded. The code is that of TensorFlow Serving; the text has no absolute path.
        """
        path = Path(path)
        session = None
        try:
            check_manifest(path)
            loader = loader_impl.SavedModelLoader(str(path))
            if check is not None:
                check(loader.get_meta_graph_def_from_tags(list(tags)))
            graph = tf.Graph()
            session = tf.compat.v1.Session(graph=graph, config=config)
            with graph.as_default():
                meta_graph = loader.load(session, list(tags))
            del loader
            signatures = {name: meta_graph.signature_def[name] for name in meta_graph.signature_def}
            # Copies of the signatures let the rest of the message go, which can be as large as the weights.
            signatures = {name: type(each).FromString(each.SerializeToString()) for name, each in signatures.items()}
            return cls(session, signatures)
        except Exception as error:
            if session is not None:
                session.close()
            raise _load_error(error, path) from error

    def run(
        self, feeds: Mapping[str, np.ndarray], fetches: Iterable[str], deadline: float | None = None
    ) -> dict[str, np.ndarray]:
        """Runs the graph.

        Args:
            feeds: dict of tensor name -> array.
            fetches: tensor names.
            deadline: time (`time.monotonic()`) at which the run is stopped, between two operations; None: never. Only
                the first 32 combinations of feeds and fetches support a deadline.

        Returns:
            Dict of tensor name -> array.

        Raises:
            ServingError: an error of the graph, with its code; DEADLINE_EXCEEDED if the run was stopped.
        """
        key = (tuple(sorted(feeds)), tuple(sorted(set(fetches))))
        try:
            values = self._callable(*key)([feeds[name] for name in key[0]], deadline)
            return {name: _as_array(value) for name, value in zip(key[1], values, strict=True)}
        except tf.errors.OpError as error:
            raise ServingError(_code(error.error_code), error.message) from error
        except (ValueError, TypeError, KeyError) as error:  # the signature names a tensor that the graph lacks
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error

    def dtype(self, name: str) -> int | None:
        """The `DataType` of a tensor of the graph, whatever a signature declares; None if there is no such tensor."""
        try:
            tensor = self._tensor(name)
        except (KeyError, ValueError):
            return None
        return tensor.dtype.base_dtype.as_datatype_enum

    def close(self) -> None:
        """Frees the memory of the session. No run may be in progress."""
        with self._lock:
            self._calls.clear()
            self._more_calls.clear()  # before the session: they release parts of it
        self._session.close()
        self._session = None
        gc.collect()  # graphs contain reference cycles

    def _callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> _Call:
        """The cached function that runs this combination of feeds and fetches.

        We do not call `Session.run`: it rejects shapes that the kernels, and TensorFlow Serving, accept.
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

    def _limited_call(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> _Call:
        """A function with a deadline. The session keeps its prepared state until it is closed."""
        try:
            fed, fetched = [self._endpoint(name) for name in feeds], [self._endpoint(name) for name in fetches]
        except (KeyError, ValueError):  # the signature names a tensor that the graph lacks
            return self._released_call(feeds, fetches)  # it raises the error that TensorFlow Serving would

        def call(values: Sequence[np.ndarray], deadline: float | None) -> Sequence[Any]:
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

    def _endpoint(self, name: str) -> Any:
        return self._tensor(name)._as_tf_output()

    def _tensor(self, name: str) -> tf.Tensor:
        return self._session.graph.get_tensor_by_name(name if ":" in name else f"{name}:0")

    def _released_call(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> _Call:
        """A function without a deadline. Its prepared state is released together with the function."""
        call = self._session._make_callable_from_options(config_pb2.CallableOptions(feed=feeds, fetch=fetches))
        return lambda values, deadline: call(*values)


def _as_array(value: Any) -> np.ndarray:
    """An array; the session returns a scalar string as bytes."""
    if isinstance(value, bytes):
        array = np.empty((), object)
        array[()] = value
        return array
    return np.asarray(value)


def _load_error(error: Exception, path: Path) -> ServingError:
    if isinstance(error, ServingError):
        return error
    status = grpc.StatusCode
    if isinstance(error, ManifestError):
        return ServingError(status.NOT_FOUND if error.is_missing else status.DATA_LOSS, str(error))
    if isinstance(error, tf.errors.OpError):
        code, text = _code(error.error_code), error.message
        if code is status.UNKNOWN and "No such file" in text:
            code = status.NOT_FOUND
    elif isinstance(error, OSError):
        # The loader raises OSError in two cases: the file is not a SavedModel, or it does not exist.
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


def _code(number: int) -> grpc.StatusCode:
    return _CODES.get(number, grpc.StatusCode.UNKNOWN)
