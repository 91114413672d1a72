"""The whole road: a trained run, exported, served by another process, answers as the SavedModel does in memory."""

import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from export.client import Client
from vl_keras.data.modalities.golden_images import golden_images

pytestmark = pytest.mark.slow  # exports and serves for a minute; tests/export/clients do so with less

IMAGES = [*golden_images().values(), b"junk", b""]


@pytest.fixture(scope="module")
def urls(exported):
    """gRPC and REST address of `vl-export serve`, which knows nothing of the training code."""
    flags = ["--port=-1", "--rest_api_port=-1", "--model_name=captioner", f"--model_base_path={exported.path.parent}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "export", "serve", *flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "All models are available" in line:
            break
    ports = re.findall(r"at:?\s?[\w.]+:(\d+) \.\.\.", "".join(lines))
    assert len(ports) == 2, "".join(lines)
    yield f"grpc://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
    process.terminate()
    assert process.wait(60) == 0


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_served_equals_in_memory(urls, exported, transport):
    loaded = tf.saved_model.load(str(exported.path)).signatures
    url = next(url for url in urls if url.startswith(transport))
    with Client(url, model="captioner", timeout_s=120) as client:
        for name in ("caption", "caption_candidates", "caption_explain", "embed_image"):
            expected = {key: value.numpy() for key, value in loaded[name](image_bytes=tf.constant(IMAGES)).items()}
            answer = client.predict(name, {"image_bytes": IMAGES})
            assert answer.keys() == expected.keys()
            for key, value in expected.items():
                if value.dtype == object:
                    given = np.asarray(answer[key]).tolist()
                    assert tf.nest.map_structure(_text, given) == tf.nest.map_structure(_text, value.tolist())
                else:
                    np.testing.assert_allclose(answer[key], value, atol=1e-5)


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


def test_signatures_are_told(urls, exported):
    with Client(urls[1], model="captioner") as client:
        assert set(client.metadata().signatures) >= set(exported.manifest["signatures"])
