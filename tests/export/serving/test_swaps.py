"""Versions swapped under load, and versions that are damaged: nobody notices."""

import hashlib
import json
import shutil
import threading
import time

import numpy as np
import psutil
import pytest
from calls import Calls
from serving_models import publish


class Clients:
    """Threads that ask without pause, and remember what went wrong.

    Attributes:
        wrong: errors, answers that fit no version, and steps back.
        answers: how many there were.
    """

    def __init__(self, port, count, bias_of):
        self.wrong, self.answers = [], 0
        self._bias_of = bias_of
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(port, i)) for i in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, port, number):
        client, last = Calls(port), 0
        while not self._stop.is_set():
            value = float(np.random.default_rng(self.answers + number).integers(0, 1000))
            try:
                answer = client.predict("half", {"x": np.float32([[value]])})
            except Exception as error:
                self.wrong.append(error)
                continue
            version = answer.model_spec.version.value
            if answer.outputs["y"].float_val[0] != value / 2 + self._bias_of(version):
                self.wrong.append(f"version {version} gave {answer.outputs['y'].float_val[0]} for {value}")
            if version < last:
                self.wrong.append(f"version {version} after {last}")
            last = version
            self.answers += 1


@pytest.mark.parametrize("enable_batching", [True, pytest.param(False, marks=pytest.mark.slow)])  # 15 s each
def test_no_request_fails_and_no_client_goes_back(serve, written, tmp_path, enable_batching):
    base = tmp_path / "half"
    publish(written["half_2"], base, 2)
    client = serve(base, model_name="half", enable_batching=enable_batching, file_system_poll_wait_seconds=1)
    with Clients(client.port, 4, lambda v: 2 + v % 2) as load:
        threads = None
        for version in range(3, 8):
            publish(written[f"half_{2 + version % 2}"], base, version)
            client.wait_for("half", **{f"v{version}": "AVAILABLE", f"v{version - 1}": "END"})
            threads = threads or psutil.Process().num_threads()
        time.sleep(0.2)
        assert psutil.Process().num_threads() <= threads + 2, "each swap leaves threads behind"
    assert load.wrong == []
    assert load.answers > 50


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def remove(path):
    path.unlink()


VARIABLES = "variables/variables.data-00000-of-00001"
DAMAGE = [
    *((name, how) for name in ("saved_model.pb", "variables/variables.index", VARIABLES) for how in (cut, remove)),
    ("saved_model.pb", empty),
    ("variables/variables.index", flip),
    (VARIABLES, flip),
]
WORDS = {  # TensorFlow's own
    cut: "Can't parse {}/saved_model.pb as binary proto",
    remove: "Could not find SavedModel .pb or .pbtxt at supplied export directory path: {}. Check that the directory",
}


def test_damaged_versions_say_why_and_the_old_one_answers(serve, written, tmp_path):
    base = tmp_path / "half"
    publish(written["half_2"], base, 2)
    client = serve(base, model_name="half")
    port = client.port
    with Clients(port, 2, lambda version: 2) as load:
        for number, (name, how) in enumerate(DAMAGE):
            version = 10 + number
            publish(written["half_3"], tmp_path / "aside", version)
            how(tmp_path / "aside" / str(version) / name)
            (tmp_path / "aside" / str(version)).rename(base / str(version))
            client.wait_for("half", **{f"v{version}": "END"})
            _, number, text = client.status("half")[version]
            assert number != 0, f"{how.__name__} {name}"
            assert text and str(tmp_path) not in text, f"{how.__name__} {name}: {text}"
            if name == "saved_model.pb" and how in WORDS:
                assert WORDS[how].format(version) in text
            assert client.states("half")[2] == "AVAILABLE"
    assert load.wrong == []


def test_a_graph_that_is_not_the_manifests_is_refused(serve, written, tmp_path):
    base = tmp_path / "half"
    publish(written["half_2"], base, 2)
    client = serve(base, model_name="half")
    publish(written["half_3"], tmp_path / "aside", 3)
    folder = tmp_path / "aside" / "3"
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    sums = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    (folder / "manifest.json").write_text(json.dumps({"files": sums}))
    flip(folder / "saved_model.pb")
    folder.rename(base / "3")
    client.wait_for("half", v2="AVAILABLE", v3="END")
    assert "saved_model.pb is not the file that manifest.json describes" in client.status("half")[3][2]


def test_a_version_that_is_still_being_copied_is_waited_for(serve, written, tmp_path):
    base = tmp_path / "half"
    publish(written["half_2"], base, 2)
    client = serve(base, model_name="half", file_system_poll_wait_seconds=1)
    shutil.copytree(written["half_3"] / "variables", base / "3" / "variables")
    time.sleep(0.5)
    content = (written["half_3"] / "saved_model.pb").read_bytes()
    with open(base / "3" / "saved_model.pb", "wb") as file:
        file.write(content[:1000])
        file.flush()
        client.wait_for("half", v3="END")
        file.write(content[1000:])
    client.wait_for("half", v3="AVAILABLE", v2="END")


def test_loading_is_tried_again(serve, written, tmp_path):
    base = tmp_path / "half"
    publish(written["half_2"], base, 2)
    client = serve(base, model_name="half", max_num_load_retries=3, load_retry_interval_micros=100_000)
    publish(written["half_3"], tmp_path / "aside", 3)
    data = (tmp_path / "aside" / "3" / VARIABLES).read_bytes()
    cut(tmp_path / "aside" / "3" / VARIABLES)
    (tmp_path / "aside" / "3").rename(base / "3")
    client.wait_for("half", v3="END")
    (base / "3" / VARIABLES).write_bytes(data)
    client.wait_for("half", v3="AVAILABLE")
