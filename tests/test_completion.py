"""The scripts that complete the two commands in a shell, run in the shell."""

import shutil
import subprocess

import pytest

from export.cli import main as vl_export
from vl_keras.cli.main import main as vl_keras

MAIN = {"vl-keras": vl_keras, "vl-export": vl_export}


@pytest.mark.parametrize("line, expected", [
    ("vl-keras ev", {"evaluate"}),
    ("vl-keras train --re", {"--resume"}),
    ("vl-export se", {"serve"}),
    ("vl-export savedmodel --batch", {"--batch-sizes"}),
])  # fmt: skip
def test_bash_completes_commands_and_options(line, expected, capsys, tmp_path):
    program, *words = line.split()
    assert MAIN[program](["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    ask = f"""source {tmp_path}/script
        COMP_WORDS=({line}); COMP_CWORD={len(words)}
        $(complete -p {program} | sed 's/.*-F \\([^ ]*\\).*/\\1/') {program} {words[-1]}
        printf '%s\\n' "${{COMPREPLY[@]}}" """
    result = subprocess.run([shutil.which("bash"), "-c", ask], capture_output=True, text=True, check=True)
    assert set(result.stdout.split()) == expected


@pytest.mark.parametrize("shell", ["zsh", "fish", "tcsh"])
def test_other_shells_have_a_script(shell, capsys):
    assert MAIN["vl-keras"](["completion", shell]) == 0
    assert "vl-keras" in capsys.readouterr().out
