"""Small requests that would become large: refused at once, in little memory."""

import functools
import gzip
import io
import json
import struct
import time
import urllib.error
import urllib.request
import zlib

import grpc
from PIL import Image
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2

from benchmarks.serving_laws.clients import PREDICT
from benchmarks.serving_laws.finding import Finding
from benchmarks.serving_laws.models import predict_request

_MOST_S = 0.2
_MOST_MB = 30
_TIMES = 3  # the best of so many: what else the machine does is not the server's


def bombs(server, captioner=None):
    """Sends each bomb, and looks at the peak of the server's memory.

    Args:
        server: `Server` of the model `half`.
        captioner: name of a served captioner, for images; None for none.

    Returns:
        List of `Finding`, one a bomb.
    """
    findings, url = [], f"http://127.0.0.1:{server.rest_port}/v1/models/half:predict"
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        for name, signature, proto in _messages():
            request = predict_request("half", signature, x=proto)
            findings.append(_judge(server, name, functools.partial(_refusal, channel, request)))
        for name, body, headers in _bodies():
            request = urllib.request.Request(url, body, headers)
            findings.append(_judge(server, name, functools.partial(_rest_refusal, request)))
        if captioner:
            for name, image in _images():
                request = predict_request(captioner, "caption", image_bytes=[image])
                findings.append(_judge(server, f"{name}, in the graph", functools.partial(_status, channel, request)))
    return findings


def _judge(server, name, send):
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
        f"{1e3 * min(times):.0f} ms ({1e3 * used:.0f} of a core), {min(grown):+.0f} MB: {reasons[0] or 'NOT REFUSED'}"
    )
    return Finding(name, figure[:110], held, f"refused in {1e3 * _MOST_S:.0f} ms, {_MOST_MB} MB")


def _refusal(channel, request):
    """Text of the error; None where there was none."""
    try:
        channel.unary_unary(PREDICT)(request.SerializeToString(), timeout=60)
    except grpc.RpcError as error:
        return f"{error.code().name} {error.details()}"


def _rest_refusal(request):
    try:
        urllib.request.urlopen(request, timeout=60).close()
    except urllib.error.HTTPError as error:
        return f"{error.code} {json.load(error)['error']}"


def _status(channel, request):
    call = channel.unary_unary(PREDICT, response_deserializer=predict_pb2.PredictResponse.FromString)
    status = call(request.SerializeToString(), timeout=60).outputs["status"].string_val[0].decode()
    return None if status == "ok" else status


def _messages():
    """`(name, signature, TensorProto)`."""

    def proto(dtype, *sizes, **values):
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


def _bodies():
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


def _images():
    """`(name, file)`: each is small and would fill the memory."""
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


def _png(width, height, rows=None):
    """Black; `rows` of them, all by default."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    row = bytes(1 + min(width, 100_000) * 3)
    data = b"".join(packer.compress(row) for _ in range(rows or height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
