"""A model card (Mitchell et al., 2019): what a run's model is, from the files of the run alone."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vl_keras.config import Config, config_from_dict, load_config, values_of
from vl_keras.drawing.metric_table import format_interval, format_number
from vl_keras.drawing.page import render
from vl_keras.json_files import read_json
from vl_keras.runs.run_dir import RunDir
from vl_keras.tasks import TASKS
from vl_keras.tasks.described import describe_signature
from vl_keras.tasks.output_words import output_words
from vl_keras.tasks.task import Task

MODEL_CARD = "MODEL_CARD.md"
# Settings of these prefixes name places or the speed of the work, or stand elsewhere on the card.
_NOT_LISTED = ("data.data_dir", "data.manual_dir", "data.dataset", "data.manifest", "training.checkpoint_steps", "task")
_MOST_LETTERS = 200  # of a setting's value


def write_model_card(run: RunDir) -> None:
    """Writes `MODEL_CARD.md` into a run that has begun; does nothing in a worker, or before `config.yaml` is there.

    Raises:
        OSError: the file cannot be written.
    """
    if not run.writes or not run.config_file.exists():
        return
    part = run.path / f"{MODEL_CARD}.part"
    part.write_text(model_card(run.path), encoding="utf-8", errors="replace")
    os.replace(part, run.path / MODEL_CARD)


def model_card(run_dir: str | Path, export: Mapping[str, Any] | None = None) -> str:
    """The model card of a run, or of a model that was exported from it, as Markdown.

    Every statement comes from `config.yaml`, `data.json`, `measures.json`, `versions.json` and the JSON files of
    `evaluation/`; what they do not hold, such as the licence of the data, is called unknown.

    Args:
        run_dir: folder of a run.
        export: of an exported model: `model`, `version`, `weights`, `weights_dtype` and `signatures` of its manifest.
    """
    run = RunDir(run_dir)
    config = load_config(run.config_file, of_run=True)
    task = TASKS[config.task]
    data, starts = _json(run.path / "data.json", {}), _json(run.path / "versions.json", [])
    start = starts[-1] if starts else {}
    name = run.path.resolve().name
    return render(
        "model_card.md",
        name=name if export is None else export["model"],
        task=config.task,
        about=_about(task),
        # A text that may be left out is read by a text encoder, if the model has one.
        inputs=[text for text in task.inputs if text.required or config.text_encoder.encoder],
        trained_on=task.reads,
        returns=list(dict.fromkeys(output_words(output, task.returns)[0] for output in task.returns)),
        manifest=Path(config.data.manifest).name if config.data.manifest else "",
        dataset=config.data.dataset,
        splits=[
            {"name": split, "use": use, **data[split]}
            for split, use in ((config.data.train_split, "training"), (config.data.dev_split, "choosing the epoch"))
            if split in data
        ],
        settings=_settings(config),
        init_from=next((Path(each["init_from"]).name for each in starts if each.get("init_from")), ""),
        metrics=_metrics(run.read_metrics().get("best", {})),
        evaluations=_evaluations(run.path / "evaluation"),
        pretrained=_pretrained(config),
        commands=_commands(task, run.path, export),
        export=export and {**export, "signatures": _signatures(export["signatures"])},
        versions=start.get("packages", {}),
        started=f"Last started {start['started']}" if start.get("started") else "Start not recorded",
        python=start.get("python", "of an unknown version"),
        code=start.get("git_commit") or "",
        devices=", ".join(start.get("devices", ())) or "unknown devices",
    )


def _json(path: Path, default: Any) -> Any:
    return read_json(path) if path.exists() else default


def _about(task: type[Task]) -> str:
    """The first sentence about a task, of its module."""
    lines = (sys.modules[task.__module__].__doc__ or "").strip().splitlines()
    return lines[0] if lines else ""


def _settings(config: Config) -> list[tuple[str, str]]:
    """Names and values of the settings that differ from the defaults of the task."""
    defaults = values_of(config_from_dict({"task": config.task}))
    changed = []
    for key, value in values_of(config).items():
        if key not in _NOT_LISTED and not key.startswith("data.shapes.") and value != defaults.get(key):
            text = str(list(value) if isinstance(value, tuple) else value)
            changed.append((key, text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}…"))
    return changed


def _metrics(best: Mapping[str, Any]) -> dict[str, Any]:
    if not best:
        return {}
    rows = [(name, format_number(name, value)) for name, value in best["measures"].items()]
    return {
        "which": best["which"][:1].upper() + best["which"][1:],
        "signature": describe_signature(best["signature"]),
        "rows": rows,
    }


def _evaluations(folder: Path) -> list[dict[str, Any]]:
    """The last evaluation of each split."""
    found = []
    for path in sorted(folder.glob("*.json")):
        result = read_json(path)
        if isinstance(result, dict) and "signature_text" in result:  # not a file of predictions
            rows = [
                (name, format_number(name, row["score"]), format_interval(name, row))
                for name, row in result["measures"].items()
            ]
            found.append({"signature": result["signature_text"], "weights": result["weights"], "rows": rows})
    return found


def _pretrained(config: Config) -> str:
    """What of the model came from elsewhere."""
    encoder, text = config.image_encoder, config.text_encoder.encoder
    parts = []
    if encoder.weights != "none" or ":" in encoder.backbone:
        weights = f" with the weights {encoder.weights}" if encoder.weights != "none" else ""
        parts.append(f"the image encoder {encoder.backbone}{weights}")
    if text:
        parts.append(f"the text encoder {text}")
    return "; ".join(parts)


def _commands(task: type[Task], folder: Path, export: Mapping[str, Any] | None) -> list[str]:
    if export is None:
        return task.next_commands(shlex.quote(folder.name))
    name = shlex.quote(export["model"])
    given = "".join(f' --input-text {text.name}="…"' for text in task.inputs if text.required)
    return [
        f"vl-export serve --port=8500 --model_name={name} --model_base_path=/models/{name}",
        f"vl-export request grpc://localhost:8500 --model {name} --image photo.jpg{given}",
    ]


def _signatures(signatures: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    return [
        {"name": name, **{side: ", ".join(_tensor(*item) for item in signature[side].items()) for side in _SIDES}}
        for name, signature in signatures.items()
    ]


_SIDES: Sequence[str] = ("inputs", "outputs")


def _tensor(name: str, info: Mapping[str, Any]) -> str:
    shape = info["shape"]
    sizes = "any shape" if shape is None else " x ".join("any" if size is None else str(size) for size in shape)
    return f"{name}: {info['dtype']} {sizes}"
