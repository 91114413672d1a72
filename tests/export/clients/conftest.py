"""A tiny captioner, served on a thread of the tests' process."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory):
    """Folder of a model called `captioner` with versions 1 and 2."""
    from tiny_captioner import write_tiny_captioner

    base = tmp_path_factory.mktemp("tiny") / "captioner"
    for version in (1, 2):
        write_tiny_captioner(base / str(version), shift=version - 2, fingerprint=f"tiny-{version}")
    return base


@pytest.fixture(scope="session")
def answers(tiny_models):
    """Signatures of version 2, in memory: dict of name -> function."""
    import tensorflow as tf

    model = tf.saved_model.load(str(tiny_models / "2"))
    return {**model.signatures, "keep": model}


@pytest.fixture(scope="session")
def server(tiny_models, tmp_path_factory):
    """`LocalServer` with both versions and the label `old` on the first."""
    from export.server.local_server import LocalServer

    config = tmp_path_factory.mktemp("server") / "models.config"
    config.write_text(
        f"""model_config_list {{ config {{ name: "captioner" base_path: "{tiny_models}" model_platform: "tensorflow"
        model_version_policy {{ all {{}} }} version_labels {{ key: "old" value: 1 }} }} }}"""
    )
    with LocalServer(
        model_config_file=str(config), allow_version_labels_for_unavailable_models=True, enable_batching=True
    ) as running:
        yield running


@pytest.fixture(scope="session")
def urls(server):
    """The two doors of the server."""
    return {"grpc": f"grpc://127.0.0.1:{server.grpc_port}", "http": f"http://127.0.0.1:{server.rest_port}"}


@pytest.fixture(scope="session")
def images():
    """Dict of file name -> bytes of readable images."""
    from vl_keras.data.modalities.golden_images import golden_images

    return golden_images()
