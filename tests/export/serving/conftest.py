"""Written models, and servers over them, that the server's tests share."""

import contextlib

import calls
import pytest
import serving_models


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """dict of name -> folder of one version: `half_2`, `half_3`, `counter`, `tools`."""
    base = tmp_path_factory.mktemp("written")
    serving_models.write_half_plus(base / "half_2", 2.0)
    serving_models.write_half_plus(base / "half_3", 3.0)
    serving_models.write_counter(base / "counter")
    serving_models.write_tools(base / "tools")
    return {path.name: path for path in base.iterdir()}


@pytest.fixture(scope="session", params=["local"] + (["original"] if calls.ORIGINAL else []))
def kind(request):
    """Which server: ours, and TensorFlow Serving's where it is installed."""
    return request.param


@pytest.fixture(scope="session")
def models(written, tmp_path_factory):
    """Folder of three models: `half` (versions 1 and 2), `counter`, `tools`; and their config file."""
    base = tmp_path_factory.mktemp("models")
    serving_models.publish(written["half_2"], base / "half", 1)
    serving_models.publish(written["half_3"], base / "half", 2)
    serving_models.publish(written["counter"], base / "counter", 1)
    serving_models.publish(written["tools"], base / "tools", 1)
    policies = {"half": "model_version_policy { all {} } version_labels { key: 'stable' value: 1 }"}
    configs = [
        f"config {{ name: '{name}' base_path: '{base / name}' model_platform: 'tensorflow' {policies.get(name, '')} }}"
        for name in ("half", "counter", "tools")
    ]
    (base / "models.config").write_text(f"model_config_list {{ {' '.join(configs)} }}")
    return base


@pytest.fixture(scope="session")
def served(kind, models):
    """`Calls` to a server of `models` that no test changes."""
    flags = {"model_config_file": models / "models.config", "allow_version_labels_for_unavailable_models": True}
    with calls.serving(kind, **flags) as client:
        yield client


@pytest.fixture
def serve(kind):
    """Function of flags to `Calls`, to a server of this test alone."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **flags: stack.enter_context(
            calls.serving(kind, *args, **{"file_system_poll_wait_seconds": 1, "max_num_load_retries": 0, **flags})
        )
