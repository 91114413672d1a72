"""The experiments that come with the package: YAML files in `configs/`, found by name from any folder."""

import difflib
from importlib.resources import files
from pathlib import Path

import vl_keras
from vl_keras.errors import ConfigError


def shipped_folder() -> Path:
    """Folder of the shipped experiments: inside an installed package, beside it in a checkout."""
    installed = Path(str(files(vl_keras) / "configs"))
    return installed if installed.is_dir() else Path(vl_keras.__file__).resolve().parents[1] / "configs"


def shipped_experiments() -> dict[str, str]:
    """Dict of name, such as `captioning/shapes`, to the first line of the file's comment, in order of names."""
    folder = shipped_folder()
    paths = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.yaml")}
    return {name: _first_comment(paths[name]) for name in sorted(paths)}


def find_config(name: str | Path) -> Path:
    """Path of a config file.

    Args:
        name: a path, or the name of a shipped experiment with or without `.yaml`. An existing file wins.

    Raises:
        ConfigError: there is no such file and no such experiment; the message names the nearest ones.
    """
    if Path(name).is_file():
        return Path(name)
    wanted = Path(name).as_posix().removeprefix("configs/").removesuffix(".yaml")
    known = shipped_experiments()
    if wanted in known:
        return shipped_folder() / f"{wanted}.yaml"
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(f'`{other}`' for other in near)}?" if near else "see `vl-keras configs`."
    raise ConfigError(f"There is no config file `{name}` and no shipped experiment of that name; {hint}")


def _first_comment(path: Path) -> str:
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return first.removeprefix("#").strip().removesuffix(".") if first.startswith("#") else ""
