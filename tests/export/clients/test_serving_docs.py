"""The examples in docs/serving.md run as they are printed; only the ports are those of the test's server."""

import re
from pathlib import Path

import pytest

from export.cli import main

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    line.split("#")[0] for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]


@pytest.mark.parametrize("code", EXAMPLES, ids=["client", "requests", "grpc"])
def test_examples(code, server, answers, images, tmp_path, monkeypatch, capsys):
    import tensorflow as tf

    monkeypatch.chdir(tmp_path)
    (tmp_path / "beach.jpg").write_bytes(images["landscape.jpg"])
    for printed, real in ((8500, server.grpc_port), (8501, server.rest_port)):
        code = code.replace(f"localhost:{printed}", f"localhost:{real}")
    exec(compile(code, "docs/serving.md", "exec"), {"__name__": "example"})
    expected = answers["caption"](image_bytes=tf.constant([images["landscape.jpg"]]))
    said = capsys.readouterr().out
    assert "ok" in said
    assert expected["caption"][0].numpy().decode() in said
    assert re.search(rf"{float(expected['score'][0]):.3f}", said)


def test_three_ways_are_shown():
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("vl-export")])
def test_commands_exist_with_these_flags(line, capsys):
    _, command, *words = line.split()
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = capsys.readouterr().out
    for flag in (word.split("=")[0] for word in words if word.startswith("--")):
        assert flag in said


def test_every_status_is_explained():
    folder = Path(__file__).resolve().parents[3] / "vl_keras" / "data"
    files = [folder / "row_status.py", folder / "image_header.py", folder / "serve_contents.py"]
    files += [*(folder / "modalities").glob("*.py"), *(folder / "image_headers").glob("*.py")]
    kinds = set(re.findall(r'"([a-z][a-z ]*): ', "".join(path.read_text(encoding="utf-8") for path in files)))
    assert {"empty", "unsupported", "damaged", "too large"} <= kinds
    for kind in kinds:
        assert f"`{kind}: " in PAGE
