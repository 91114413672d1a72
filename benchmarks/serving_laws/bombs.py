"""Small requests that would expand to large tensors: they must be rejected fast and with little memory."""

import functools
import gzip
import io
import json
import struct
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from typing import Any

import grpc
from PIL import Image
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2

from benchmarks.serving_laws.clients import PREDICT
from benchmarks.serving_laws.finding import Finding
from benchmarks.serving_laws.models import predict_request
from benchmarks.serving_laws.server import Server

_MOST_S = 0.2
_MOST_MB = 30
_TIMES = 3  # attempts; the best counts, because of other load on the machine


def bombs(server: Server, captioner: str | None = None) -> list[Finding]:
    """Sends each bomb and measures the peak memory of the server.

    Args:
        server: `Server` with the model `half`.
        captioner: name of a served captioner for image bombs; None: no images.

    Returns:
        One `Finding` per bomb.
    """
    findings, url = [], f"http://127.0.0.1:{server.rest_port}/v1/models/half:predict"
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        for name, signature, proto in _messages():
            request = predict_request("half", signature, x=proto)
            findings.append(_measure(server, name, functools.partial(_refusal, channel, request)))
        for name, body, headers in _bodies():
            request = urllib.request.Request(url, body, headers)
            findings.append(_measure(server, name, functools.partial(_rest_refusal, request)))
        if captioner:
            for name, image in _images():
                request = predict_request(captioner, "caption", image_bytes=[image])
                findings.append(_measure(server, f"{name}, in the graph", functools.partial(_status, channel, request)))
    return findings


def _measure(server: Server, name: str, send: Callable[[], str | None]) -> Finding:
    reasons, times, grown, used = [], [], [], server.cpu_seconds()
    for _ in range(_TIMES):
        server.forget_peak()
        before = server.megabytes()
        started = time.perf_counter()
        reasons.append(send())
        times.append(time.perf_counter() - started)
        grown.append(server.peak_megabytes() - before)
    held = all(reasons) and min(times) <= _MOST_S and min(grown) <= _MOST_MB
    used = (server.cpu_seconds() - used) / _TIMES
    figure = (
        f"{1e3 * min(times):.0f} ms ({1e3 * used:.0f} of a core), {min(grown):+.0f} MB: {reasons[0] or 'NOT REJECTED'}"
    )
    return Finding(name, figure[:110], held, f"rejected in {1e3 * _MOST_S:.0f} ms, {_MOST_MB} MB")


def _refusal(channel: grpc.Channel, request: Any) -> str | None:
    """The error message; None without an error."""
    try:
        channel.unary_unary(PREDICT)(request.SerializeToString(), timeout=60)
    except grpc.RpcError as error:
        return f"{error.code().name} {error.details()}"


def _rest_refusal(request: Any) -> str | None:
    try:
        urllib.request.urlopen(request, timeout=60).close()
    except urllib.error.HTTPError as error:
        return f"{error.code} {json.load(error)['error']}"


def _status(channel: grpc.Channel, request: Any) -> str | None:
    call = channel.unary_unary(PREDICT, response_deserializer=predict_pb2.PredictResponse.FromString)
    status = call(request.SerializeToString(), timeout=60).outputs["status"].string_val[0].decode()
    return None if status == "ok" else status


def _messages() -> list[tuple[str, str, tensor_pb2.TensorProto]]:
    """`(name, signature, TensorProto)`."""

    def proto(dtype: int, *sizes: int, **values: Any) -> tensor_pb2.TensorProto:
        tensor = tensor_pb2.TensorProto(dtype=dtype, **values)
        for size in sizes:
            tensor.tensor_shape.dim.add(size=size)
        return tensor

    many = 100_000_000
    return [
        ("one float for 400 MB", "echo_float32", proto(types_pb2.DT_FLOAT, many, float_val=[1])),
        ("no float for 400 MB", "echo_float32", proto(types_pb2.DT_FLOAT, many)),
        ("one string for 100 million", "echo_string", proto(types_pb2.DT_STRING, many, string_val=[b"a"])),
        ("sizes that overflow", "echo_int64", proto(types_pb2.DT_INT64, 2**40, 2**40, int64_val=[1])),
    ]


def _bodies() -> list[tuple[str, bytes, dict[str, str]]]:
    """`(name, body, headers)`."""
    gzipped = {"Content-Encoding": "gzip"}
    numbers = b'{"inputs": {"x": [' + b"0," * 50_000_000 + b"0]}}"
    return [
        ("100 kB of gzip for 100 MB", gzip.compress(b" " * 100_000_000), gzipped),
        ("gzip that lies about its size", gzip.compress(b" " * 100_000_000)[:-4] + struct.pack("<I", 100), gzipped),
        ("100 kB of gzip for 50 million numbers", gzip.compress(numbers), gzipped),
        ("lists 100,000 deep", b'{"instances": ' + b"[" * 100_000, {}),
        ("objects 100,000 deep", b'{"inputs": ' + b'{"a":' * 100_000, {}),
        ("escaped surrogates, lists 100,000 deep", b'["\\ud800", ' + b"[" * 100_000, {}),
        ("a number of a million digits", b'{"instances": [' + b"1" * 1_000_000 + b"]}", {}),
    ]


def _images() -> list[tuple[str, bytes]]:
    """`(name, file)`: small files that expand to huge images."""
    png = _png(8000, 8000)
    gif, jpeg, webp = io.BytesIO(), io.BytesIO(), io.BytesIO()
    Image.new("L", (12_000, 12_000)).save(gif, "GIF")
    Image.new("L", (10_000, 10_000)).save(jpeg, "JPEG", quality=1)
    Image.new("RGB", (9_000, 9_000)).save(webp, "WEBP", lossless=True)
    bmp = b"BM" + bytes(16) + struct.pack("<ii", 30_000, 30_000) + struct.pack("<HHI", 1, 24, 0) + bytes(24)
    return [
        (f"PNG of {len(png) // 1000} kB for 192 MB", png),
        (f"GIF of {len(gif.getvalue()) // 1000} kB for 432 MB", gif.getvalue()),
        (f"JPEG of {len(jpeg.getvalue()) // 1000} kB for 300 MB", jpeg.getvalue()),
        (f"WebP of {len(webp.getvalue()) // 1000} kB for 243 MB", webp.getvalue()),
        ("BMP of 58 bytes for 2.7 GB", bmp),
        ("PNG whose sides overflow", _png(2**31 - 1, 2**31 - 1, rows=1)),
    ]


def _png(width: int, height: int, rows: int | None = None) -> bytes:
    """A black PNG with `rows` rows of data, all by default."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    row = bytes(1 + min(width, 100_000) * 3)
    data = b"".join(packer.compress(row) for _ in range(rows or height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
