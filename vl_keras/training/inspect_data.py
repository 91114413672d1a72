"""A report on the data before training: counts, caption statistics, contact sheets, leaks, unreadable files."""

from __future__ import annotations

import collections
import json
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vl_keras.config import Config
from vl_keras.data.builders.annotators import annotators
from vl_keras.data.decoding_worker import DecodingWorker
from vl_keras.data.image_header import find_fault, image_header
from vl_keras.data.leaks import MARK_SIDE, ImageMark, find_leaks, mark_opened
from vl_keras.data.quarantine import Quarantine
from vl_keras.data.source import Source, open_source, prepare
from vl_keras.drawing.example_sheet import draw_example_sheet
from vl_keras.errors import DataError
from vl_keras.progress import Progress

_SHEET_EXAMPLES = 24
_AT_ONCE = 64  # images read and decoded together
_WORD = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]|[^\W_\u3040-\u30ff\u4e00-\u9fff]+(?:['’-][^\W_]+)*")
_SHOWN = 10  # rows of a list that the text report shows; the JSON has all


def inspect_data(config: Config, out_dir: str | Path) -> dict[str, Any]:
    """Reads every example of every split once, and reports what training will find in the data.

    Writes to `out_dir`: `report.txt` and `report.json`, `contact_sheet_SPLIT.png` of each split, `unreadable.jsonl`.

    Args:
        config: `Config`.
        out_dir: folder; made if it does not exist.

    Returns:
        Dict: `dataset`; `notes`; `splits`: dict of name -> counts of images and captions, words per caption,
        vocabulary, counts of questions and their answers, image sizes; `unreadable`: rows `(split, name, reason)`,
        with an empty split for what belongs to no split; `leaks`: rows `(split, name, split, name, how)`; `files`: the
        files that were written.

    Raises:
        DataError: files of the dataset are missing.
    """
    out_dir = Path(out_dir).expanduser()
    out_dir.mkdir(parents=True, exist_ok=True)
    data = config.data
    names = list(prepare(data).info.splits)
    sources = {name: open_source(data, name, check=False) for name in names}
    if not sources:
        raise DataError("The dataset has no split.")
    with DecodingWorker() as worker:
        marks = {name: _mark_images(source, data.max_pixels, worker) for name, source in sources.items()}
        return _report(config, out_dir, sources, marks, worker)


def _report(
    config: Config,
    out_dir: Path,
    sources: Mapping[str, Source],
    marks: Mapping[str, Sequence[ImageMark | None]],
    worker: DecodingWorker,
) -> dict[str, Any]:
    """Makes the report and writes its files."""
    data = config.data
    report: dict[str, Any] = {
        "dataset": f"manifest {data.manifest}" if data.manifest else data.dataset,
        "notes": next(iter(sources.values())).notes,
        "splits": {name: _describe(source, marks[name]) for name, source in sources.items()},
        "unreadable": _unreadable(sources),
        "leaks": find_leaks({name: (source.image_ids, marks[name]) for name, source in sources.items()}),
        "files": [],
    }
    _add_unseen_words(report, sources, data.train_split)
    for name, source in sources.items():
        path = out_dir / f"contact_sheet_{name}.png"
        draw_example_sheet(
            source, path, title=f"{report['dataset']}, {name}", count=_SHEET_EXAMPLES, opener=worker.open_image
        )
        report["files"].append(str(path))
    Quarantine((_where(split, name), reason) for split, name, reason in report["unreadable"]).save(
        out_dir / "unreadable.jsonl"
    )
    report["files"] += [str(out_dir / name) for name in ("unreadable.jsonl", "report.json", "report.txt")]
    (out_dir / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
    (out_dir / "report.txt").write_text(format_report(report), encoding="utf-8")
    return report


def format_report(report: Mapping[str, Any]) -> str:
    """The report of `inspect_data` as text for a terminal."""
    lines = [f"Data: {report['dataset']}", *report["notes"], ""]
    rows = {
        "images": "images",
        "captions": "captions",
        "captions an image, mean (least to most)": "captions_per_image",
        "words a caption, mean (95% at most, longest)": "words_per_caption",
        "different words": "word_types",
        "words unseen in training captions": "unseen_word_share",
        "images without a caption": "without_caption",
        "captions that occur more than once": "repeated_captions",
        "contexts": "contexts",
        "questions": "questions",
        "questions without an answer": "unanswered",
        "different answers": "answers",
        "images' height, least / median / most": "heights",
        "images' width, least / median / most": "widths",
        "kB an image, median": "median_kilobytes",
        "formats": "formats",
    }
    splits = report["splits"]
    table = [["", *splits]]
    table += [[title, *(_cell(split.get(key)) for split in splits.values())] for title, key in rows.items()]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for title, *cells in table:
        cells = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([title.ljust(widths[0]), *cells]).rstrip())
    for title in ("words", "answers"):
        for name, split in splits.items():
            frequent = ", ".join(text for text, _ in split[f"frequent_{title}"])
            lines += [f"most frequent {title} in {name}: {frequent}"] if frequent else []
    lines += ["", f"Unreadable: {len(report['unreadable'])}"]
    lines += _shown([f"  {_where(split, name)}: {reason}" for split, name, reason in report["unreadable"]])
    lines.append(f"Leaks between splits: {len(report['leaks'])}")
    lines += _shown([f"  {a}: {x}  =  {b}: {y}  ({how})" for a, x, b, y, how in report["leaks"]])
    lines += ["Written:", *(f"  {path}" for path in report["files"])]
    return "\n".join(lines) + "\n"


def _mark_images(source: Source, max_pixels: int, worker: DecodingWorker) -> list[ImageMark | None]:
    """The `ImageMark` of every image; None for an image that cannot be read, which goes to `source.quarantine`."""
    marks: list[ImageMark | None] = []
    with Progress(f"looking at {source.split}", len(source), "image") as progress:
        for start in range(0, len(source), _AT_ONCE):
            places = range(start, min(start + _AT_ONCE, len(source)))
            marks += _mark(source, places, max_pixels, worker)
            progress.to(len(marks))
    return marks


def _mark(source: Source, places: range, max_pixels: int, worker: DecodingWorker) -> list[ImageMark | None]:
    contents = source.read_images(places)
    headers = [image_header(content) for content in contents]
    # Of a content without bytes the reader may have said more already, and the first reason stays.
    faults = [find_fault(header, max_pixels) for header in headers]
    sound = [content for content, fault in zip(contents, faults, strict=True) if not fault]
    opened = iter(worker.open_images(sound, MARK_SIDE))
    marks: list[ImageMark | None] = []
    for place, content, header, fault in zip(places, contents, headers, faults, strict=True):
        found = fault or next(opened)
        if isinstance(found, str):
            source.quarantine.add(source.image_ids[place], found)
            marks.append(None)
        else:
            marks.append(mark_opened(content, (header.height, header.width), *found))
    return marks


def _describe(source: Source, marks: Sequence[ImageMark | None]) -> dict[str, Any]:
    captions = [caption for rows in source.captions for caption in rows]
    per_image = [len(rows) for rows in source.captions]
    lengths = [len(_words(caption)) for caption in captions]
    words = collections.Counter(word for caption in captions for word in _words(caption))
    seen: list[ImageMark] = [mark for mark in marks if mark]
    questions = [row for rows in source.questions for row in rows]
    answers = collections.Counter(answer for row in questions for answer in annotators(row["answer"]))
    folded = collections.Counter(" ".join(caption.lower().split()) for caption in captions)
    return {
        "images": len(source),
        "captions": len(captions),
        "captions_per_image": _summary(per_image, lambda v: f"{np.mean(v):.2f} ({min(v)} to {max(v)})"),
        "words_per_caption": _summary(lengths, lambda v: f"{np.mean(v):.1f} ({np.percentile(v, 95):.0f}, {max(v)})"),
        "word_types": len(words),
        "frequent_words": words.most_common(20),
        "without_caption": per_image.count(0),
        "repeated_captions": sum(count for count in folded.values() if count > 1),
        "contexts": sum(bool(context) for context in source.contexts),
        "questions": len(questions),
        "unanswered": sum(not row["answer"] for row in questions),
        "answers": len(answers),
        "frequent_answers": answers.most_common(20),
        "heights": _summary([mark.height for mark in seen], _least_median_most),
        "widths": _summary([mark.width for mark in seen], _least_median_most),
        "median_kilobytes": _summary([mark.size for mark in seen], lambda v: round(statistics.median(v) / 1000, 1)),
        "formats": ", ".join(
            f"{kind} {n}" for kind, n in collections.Counter(mark.format for mark in seen).most_common()
        ),
    }


def _add_unseen_words(report: Mapping[str, Any], sources: Mapping[str, Source], train_split: str) -> None:
    if train_split not in sources:
        return
    known = {word for rows in sources[train_split].captions for text in rows for word in _words(text)}
    for name, source in sources.items():
        words = [word for rows in source.captions for text in rows for word in _words(text)]
        if name != train_split and words:
            report["splits"][name]["unseen_word_share"] = f"{sum(w not in known for w in words) / len(words):.1%}"


def _unreadable(sources: Mapping[str, Source]) -> list[tuple[str, str, str]]:
    """Rows `(split, name, reason)`; what stands in the list of every split, such as a bad line, belongs to none."""
    rows = {split: dict.fromkeys(source.quarantine.rows) for split, source in sources.items()}
    common = [row for row in next(iter(rows.values())) if len(rows) > 1 and all(row in part for part in rows.values())]
    own = [(split, *row) for split, part in rows.items() for row in part if row not in common]
    return [("", *row) for row in common] + own


def _words(caption: str) -> list[str]:
    """Lower-case words without punctuation; in Chinese and Japanese, which have no spaces, each character is a word."""
    return _WORD.findall(caption.lower())


def _summary(values: list, describe: Callable[[list], Any]) -> Any:
    return describe(values) if values else "-"


def _least_median_most(values: Sequence[int]) -> str:
    return f"{min(values)} / {statistics.median_low(values)} / {max(values)}"


def _cell(value: Any) -> str:
    return "-" if value is None or value == "" else str(value)


def _where(split: str, name: str) -> str:
    return f"{split}: {name}" if split else name


def _shown(lines: list[str]) -> list[str]:
    return lines[:_SHOWN] + ([f"  and {len(lines) - _SHOWN} more, in report.json"] if len(lines) > _SHOWN else [])
