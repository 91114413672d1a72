"""The command line: every command is a thin door, and what a user can mend costs one line."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from vl_keras.cli.errors import run_command
from vl_keras.cli.main import main
from vl_keras.errors import EncoderError
from vl_keras.tasks import TASKS
from vl_keras.tasks.task import Task, TextInput

ROOT = Path(__file__).resolve().parent.parent
TINY = str(ROOT / "configs" / "captioning" / "tiny.yaml")
SMALL = ["data.shapes.scenes=10", "data.batch_size=2", "data.data_dir=prepared"]
COMMANDS = (
    ["train"],
    ["evaluate"],
    ["predict"],
    ["ensemble"],
    ["make-memory"],
    ["extract"],
    ["data", "inspect"],
    ["data", "questions"],
    ["index"],
    ["search"],
    ["make-bert"],
    ["config"],
    ["configs"],
    ["completion"],
)


class Call:
    """Stands in for a function and remembers how it was called."""

    def __init__(self, result=None):
        self.result = result

    def __call__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs
        return self.result


@pytest.fixture
def replaced(monkeypatch):
    """Function that puts a `Call` in the place of a function, given by its full name."""

    def replace(name, result=None):
        call = Call(result)
        monkeypatch.setattr(name, call)
        return call

    return replace


@pytest.mark.parametrize("command", [[], ["data"], *COMMANDS], ids=" ".join)
def test_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: vl-keras")
    if command in COMMANDS:
        assert f"vl-keras {' '.join(command)}" in text.split("example:\n")[1]


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if re.match("    [a-z]", line)]
    assert listed == list(dict.fromkeys(first for first, *_ in COMMANDS))


def test_help_loads_nothing_heavy():
    code = (
        "import sys, vl_keras.cli.main as cli\n"
        f"for command in {[[], *COMMANDS]}:\n"
        "    try: cli.main([*command, '--help'])\n"
        "    except SystemExit as stop: assert stop.code == 0\n"
        "heavy = {'tensorflow', 'tf_keras', 'tensorflow_datasets', 'numpy', 'PIL', 'matplotlib'}\n"
        "assert not heavy.intersection(sys.modules), heavy.intersection(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["train", "absent.yaml"], ["no config file `absent.yaml`", "vl-keras configs"]),
        (["train", "captioning/shapse"], ["did you mean `captioning/shapes`"]),
        (["config", "data.batch"], ["did you mean `data.batch_size`"]),
        (["config", "--task", "other"], ["`task` must be one of captioning, ", "'other'"]),
        (["train", TINY, "--set", "training.epoch=3"], ["`training.epoch`", "did you mean `training.epochs`"]),
        (["train", TINY, "--set", "model.num_heads=5"], ["32", "5"]),
        (["train", TINY, "--set", *SMALL, "text.vocabulary=absent.txt"], ["no vocabulary file `absent.txt`"]),
        (["train", TINY, "--set", *SMALL, "text.max_length=9"], ["at most `text.max_length`", "16 and 9"]),
        (["train", TINY, "--set", "generation.repetition_penalty=0"], ["`generation.repetition_penalty`", "above 0"]),
        (["train", TINY, "--set", "generation.min_length=17"], ["`generation.min_length`", "max_length", "17"]),
        (["train", TINY, "--set", "data.augment.rotation=190"], ["`data.augment.rotation`", "0 and 180", "190"]),
        (["train", TINY, "--set", "data.augment.rotation=.nan"], ["`data.augment.rotation`", "finite", "nan"]),
        (["train", TINY, "--set", "data.shapes.scenes=0"], ["`data.shapes.scenes`", "at least 1"]),
        (["train", TINY, "--set", "data.shapes.image_size=[0, 48]"], ["`data.shapes.image_size`", "16 pixels"]),
        (["evaluate", "absent"], ["`absent` holds no run"]),
        (["predict", "absent", "--image", "absent.jpg"], ["`absent` holds no run"]),
        (["predict", "absent", "--image", "absent.jpg", "--explain", "out.jpg"], ["out.jpg", ".png"]),
        (["index", "absent", "--images", TINY, "--out", "index"], ["`absent` holds no run"]),
        (["search", "absent", "--text", "a dog"], ["`absent` holds no index"]),
        (["make-bert", "--from", "absent", "--out", "modules"], ["no folder `absent`"]),
    ],
)
def test_what_the_user_can_mend_costs_one_line(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    own = [line for line in lines if line.startswith("vl-keras: ")]
    assert len(own) == 1
    for word in words:
        assert word in own[0]
    assert "Traceback" not in "".join(lines)


def test_a_file_that_the_system_refuses_is_named(monkeypatch, capsys):
    def refused(*args, **kwargs):
        raise PermissionError(13, "Permission denied", "runs/mine")

    monkeypatch.setattr("vl_keras.training.train.train", refused)
    assert main(["train", TINY]) == 2
    assert capsys.readouterr().err == "vl-keras: runs/mine: Permission denied\n"


def test_train(replaced, capsys):
    call = replaced("vl_keras.training.train.train")
    arguments = ["train", TINY, "--set", "training.epochs=7", "data.batch_size=3", "--set", "model.dropout=0"]
    assert main([*arguments, "--run-dir", "there", "--init-from", "before"]) == 0
    config, run_dir = call.args
    assert (config.training.epochs, config.data.batch_size, config.model.dropout) == (7, 3, 0.0)
    assert run_dir == "there"
    assert call.kwargs == {"resume": False, "init_from": "before"}
    assert capsys.readouterr().out == "run: there\n"


def test_train_names_the_run_after_the_config(replaced):
    call = replaced("vl_keras.training.train.train")
    assert main(["train", TINY, "--resume"]) == 0
    assert call.args[1] == Path("runs/tiny")
    assert call.kwargs["resume"] is True


def test_a_shipped_experiment_is_trained_by_its_name(replaced, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = replaced("vl_keras.training.train.train")
    assert main(["train", "captioning/tiny", "--set", "training.epochs=7"]) == 0
    config, run_dir = call.args
    assert (config.training.epochs, config.model.hidden_dim, run_dir) == (7, 32, Path("runs/tiny"))


def test_configs(capsys):
    assert main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(
        path.relative_to(ROOT / "configs").with_suffix("").as_posix() for path in (ROOT / "configs").rglob("*.yaml")
    )
    assert "captioning/shapes" in [line.split()[0] for line in lines] and max(map(len, lines)) <= 100


def test_config(capsys):
    assert main(["config", "data.batch_size"]) == 0
    assert "data.batch_size  int  32\n      Images per step" in capsys.readouterr().out
    assert main(["config", "model", "--task", "captioning"]) == 0
    printed = capsys.readouterr().out
    assert "model.decoder" in printed and "model.fusion" not in printed
    assert main(["config", "--markdown"]) == 0
    assert "| `data.batch_size` | int | `32` | be at least 1 |" in capsys.readouterr().out


def test_an_installed_wheel_has_the_experiments(tmp_path):
    source = tmp_path / "source"
    for folder in ("vl_keras", "export", "configs"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("setup.py", "pyproject.toml", "README.md", "MANIFEST.in"):
        shutil.copy(ROOT / file, source)
    command = [sys.executable, "setup.py", "-q", "bdist_wheel", "--dist-dir", str(tmp_path)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "vl_keras", "configs"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "captioning/shapes  " in done.stdout and "vqa/tiny  " in done.stdout
    code = "import vl_keras.config as c; print(c.load_config('captioning/shapes').data.dataset, c.__file__)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"shapes {installed}")


def test_predict(replaced, capsys):
    from vl_keras.inference.prediction import Prediction

    call = replaced(
        "vl_keras.inference.predict.predict", [Prediction("a.jpg", "ok", "a dog"), Prediction("b.jpg", "bad")]
    )
    options = ["--context", "at the sea", "--question", "what?", "--question", "is it red?", "--text", "a dog"]
    options += ["--explain", "e.png", "--out", "o.jsonl", "--report", "r.html", "--weights", "ema"]
    assert main(["predict", "run", "--image", "a.jpg", "b.jpg", "--image", "c", *options]) == 0
    assert call.args == ("run", ["a.jpg", "b.jpg", "c"])
    call.kwargs.pop("report")(Prediction("a.jpg", "ok", "a dog"))
    asked = {"context": ["at the sea"], "question": ["what?", "is it red?"], "text": ["a dog"]}
    files = {"explain": "e.png", "out": "o.jsonl", "page": "r.html"}
    assert call.kwargs == {"inputs": asked, **files, "overrides": [], "weights": "ema"}
    printed = capsys.readouterr()
    assert printed.out == "a.jpg\ta dog\n"
    assert printed.err == "report: r.html\n1 of 2 images could not be read:\n  b.jpg: bad\n"


def test_a_task_brings_its_option_of_predict(replaced, monkeypatch):
    class Singing(Task):
        inputs = (TextInput("melody", "melody of the song"),)

    monkeypatch.setitem(TASKS, "singing", Singing)
    call = replaced("vl_keras.inference.predict.predict", [])
    main(["predict", "run", "--image", "a.jpg", "--melody", "c d e"])
    assert call.kwargs["inputs"]["melody"] == ["c d e"]


def test_predict_prints_a_name_that_is_not_utf8_as_it_is(replaced, capfdbinary):
    from vl_keras.inference.prediction import Prediction

    call = replaced("vl_keras.inference.predict.predict", [])
    main(["predict", "run", "--image", "folder"])
    call.kwargs["report"](Prediction(os.fsdecode(b"caf\xe9.jpg"), "ok", "a dog"))
    assert capfdbinary.readouterr().out == b"caf\xe9.jpg\ta dog\n"


@pytest.mark.parametrize(
    "arguments",
    [["predict", "run", "--image", "a.jpg", "--question"], ["search", "index", "--text"]],
)
def test_a_text_that_is_not_utf8_costs_one_line(arguments, capsys):
    with pytest.raises(SystemExit):
        main([*arguments, os.fsdecode(b"caf\xe9?")])
    assert f"argument {arguments[-1]}: the text is not UTF-8" in capsys.readouterr().err


def test_predict_fails_where_no_image_could_be_read(replaced):
    from vl_keras.inference.prediction import Prediction

    replaced("vl_keras.inference.predict.predict", [Prediction("b.jpg", "bad")])
    assert main(["predict", "run", "--image", "b.jpg"]) == 1


def test_index(replaced, capsys):
    from vl_keras.search.index_images import Indexing

    indexing = Indexing(7, 4, 1, 2, 3, ["gone.jpg"], [("bad.jpg", "no bytes")], "exact", "a note")
    call = replaced("vl_keras.search.index_images.index_images", indexing)
    arguments = ["--images", "a", "b", "--images", "c", "--out", "index", "--delete", "d", "e", "--delete-missing"]
    assert main(["index", "run", *arguments, "--set", "data.max_pixels=9", "--weights", "ema"]) == 0
    assert call.args == ("run", ["a", "b", "c"], "index")
    wanted = {"delete": ["d", "e"], "delete_missing": True, "overrides": ["data.max_pixels=9"], "weights": "ema"}
    assert call.kwargs == wanted
    printed = capsys.readouterr()
    assert printed.out == "index: 7 images; 4 added, 1 changed, 2 unchanged, 3 deleted (exact search)\n"
    assert "note: a note\n" in printed.err and "1 files" in printed.err and "  bad.jpg: no bytes\n" in printed.err


def test_search(replaced, capsys):
    from vl_keras.search.image_search import SearchResult

    found = [SearchResult(1, 0.5, "a.jpg"), SearchResult(2, 0.25, "b.jpg")]
    call = replaced("vl_keras.search.search_images.search_images", found)
    assert main(["search", "index", "--text", "a dog", "--top", "2", "--sheet", "s.png", "--run", "moved"]) == 0
    call.kwargs.pop("report")("a note")
    assert call.args == ("index",)
    assert call.kwargs == {"text": "a dog", "image": None, "top": 2, "sheet": "s.png", "run_dir": "moved"}
    printed = capsys.readouterr()
    assert printed.out == "1\t0.5000\ta.jpg\n2\t0.2500\tb.jpg\n"
    assert printed.err == "contact sheet: s.png\nnote: a note\n"


def test_a_search_has_one_query(capsys):
    for query in ([], ["--text", "a dog", "--image", "dog.jpg"]):
        with pytest.raises(SystemExit) as stopped:
            main(["search", "index", *query])
        assert stopped.value.code == 2


def test_sigterm_ends_a_command_with_a_word(monkeypatch, capsys):
    def work(options):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)

    monkeypatch.setattr("vl_keras.cli.train.run", work)
    before = signal.getsignal(signal.SIGTERM)
    assert main(["train", "config.yaml"]) == 143
    assert capsys.readouterr().err == "vl-keras: stopped.\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_bug_keeps_its_traceback(monkeypatch):
    def broken(*args, **kwargs):
        raise AttributeError("a bug")

    monkeypatch.setattr("vl_keras.training.train.train", broken)
    with pytest.raises(AttributeError, match="a bug"):
        main(["train", TINY])


def test_make_bert(replaced, capsys):
    made = {
        "encoder": "m/encoder",
        "preprocessor": "m/preprocessor",
        "weights": "w",
        "vocabulary": 12,
        "parameters": 3456,
    }
    call = replaced("vl_keras.encoders.bert_module.make_bert", made)
    assert main(["make-bert", "--from", "bert", "--out", "m", "--case", "keep"]) == 0
    assert (call.args, call.kwargs) == (("bert", "m"), {"lower_case": False})
    assert "text_encoder.encoder:      m/encoder\n" in capsys.readouterr().out


@pytest.mark.slow  # reads and encodes real images, 20 seconds
def test_extract_then_inspect(tmp_path, capsys):
    settings = ["data.shapes.scenes=10", "data.shapes.image_size=[24, 32]", "data.image_size=[24, 32]"]
    settings += ["data.batch_size=2", f"data.data_dir={tmp_path}", "image_encoder.trainable_from="]
    assert main(["extract", TINY, "--set", *settings]) == 0
    assert "train: 10 images, 1 views, 12 tokens of width 128" in capsys.readouterr().out
    assert main(["data", "inspect", TINY, "--out", str(tmp_path / "look"), "--set", *settings]) == 0
    assert (tmp_path / "look" / "contact_sheet_train.png").exists()
    assert "Leaks between splits: " in capsys.readouterr().out


@pytest.mark.parametrize("module, name", [("vl_keras", "vl-keras"), ("vl_keras.cli.main", "vl-keras")])
def test_the_command_runs_as_a_module(module, name):
    done = subprocess.run(
        [sys.executable, "-m", module, "--version"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"{name} ")


@pytest.mark.parametrize(
    "error, line",
    [
        (EncoderError("`Net` is no backbone."), "vl-x: `Net` is no backbone.\n"),
        (FileNotFoundError(2, "No such file or directory", "a.jpg"), "vl-x: a.jpg: No such file or directory\n"),
        (PermissionError(13, "Permission denied", b"b.jpg"), "vl-x: b.jpg: Permission denied\n"),
    ],
)
def test_an_error_that_the_user_can_fix_costs_one_line_and_the_status_asked_for(error, line, capsys):
    def fails():
        raise error

    assert [run_command("vl-x", fails), run_command("vl-x", fails, failed=1)] == [2, 1]
    assert capsys.readouterr().err == line * 2


@pytest.mark.parametrize(
    "error", [OSError(9, "Bad file descriptor"), RuntimeError("a bug"), ValueError("a bug"), BrokenPipeError(32, "")]
)
def test_any_other_error_keeps_its_traceback(error):
    def fails():
        raise error

    with pytest.raises(type(error)):
        run_command("vl-x", fails)


def test_statuses(capsys):
    def interrupted():
        raise KeyboardInterrupt

    assert [run_command("vl-x", function) for function in (lambda: None, lambda: 0, lambda: 1)] == [0, 0, 1]
    assert run_command("vl-x", interrupted) == 130
    assert capsys.readouterr().err == "vl-x: stopped.\n"


def test_a_reader_that_stops_reading_ends_the_command_in_silence():
    code = (
        "import sys\nfrom vl_keras.cli.errors import run_command\n"
        "def work():\n    for i in range(100000): print(i)\n"
        "sys.exit(run_command('vl-x', work))"
    )
    command = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    command.stdout.readline()
    command.stdout.close()
    assert (command.wait(60), command.stderr.read()) == (141, b"")


def run_here(code, shell="{}", **environment):
    """Runs `run_command('vl-x', work)` in a new process, with `code` in `work`, as a shell starts it."""
    program = (
        "import sys, os, pathlib\nfrom vl_keras.cli.errors import run_command, LinePrinter\n"
        f"def work():\n    {code}\nsys.exit(run_command('vl-x', work))"
    )
    command = shell.format(f"{shlex.quote(sys.executable)} -c {shlex.quote(program)}")
    return subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_service_without_standard_streams_works(closed, tmp_path):
    code = (
        "from vl_keras.progress import Progress; print('x'); print('y', file=sys.stderr); "
        f"Progress('p', 3).to(3); open({str(tmp_path / 'done')!r}, 'w').write('yes')"
    )
    done = run_here(code, f"{{}} {closed}")
    assert done.returncode == 0 and "Traceback" not in done.stderr and (tmp_path / "done").read_text() == "yes"


def test_work_that_is_also_written_elsewhere_goes_on_without_a_reader(tmp_path):
    out = tmp_path / "out"
    code = (
        f"file = open({str(out)!r}, 'w'); p = LinePrinter(True)\n    for i in range(50000): p(str(i)); file.write('x')"
    )
    done = run_here(code, "{} | head -1")
    assert (done.stdout, done.stderr, out.stat().st_size) == ("0\n", "", 50000)


def test_a_full_disk_costs_one_line():
    done = run_here("print('x' * 100000)", "{} > /dev/full")
    assert (done.returncode, done.stderr) == (2, "vl-x: what was written: No space left on device\n")


def test_a_terminal_that_cannot_show_a_caption_shows_its_escapes():
    done = run_here("print('\\u0932\\u095c\\u0915\\u093e')", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\u0932\\u095c\\u0915\\u093e\n", "")


def test_a_user_without_a_home_is_told_so():
    code = "import pwd; os.environ.pop('HOME', 0); os.getuid = lambda: 98765; pathlib.Path('~/x').expanduser()"
    done = run_here(code)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "HOME is not set" in done.stderr


def test_a_value_that_begins_with_a_dash_is_explained(capsys):
    with pytest.raises(SystemExit):
        main(["predict", "run", "--image", "a.jpg", "--question", "-red"])
    assert "a value that begins with - is written --option=VALUE" in capsys.readouterr().err
