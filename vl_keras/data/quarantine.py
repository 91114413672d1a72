"""The list of inputs that could not be used, each with its reason."""

import json
import threading
from collections.abc import Iterable
from pathlib import Path

from vl_keras.errors import QuarantineError


class Quarantine:
    """Unusable files, records and lines: each costs itself, and is named with its reason.

    Safe to use from several threads. A name is kept once, with the first reason given for it, so an image that is met
    again in every epoch still counts once.

    Args:
        rows: `(name, reason)` pairs to begin with.
        uncounted: pairs that are listed before them, and are no part of any share: what belongs to no split.

    `name in quarantine` says whether an input cannot be used.

    Attributes:
        rows: `(name, reason)` pairs in the order they came.
        counted: those of them that shares are made of.
    """

    def __init__(self, rows: Iterable[tuple[str, str]] = (), uncounted: Iterable[tuple[str, str]] = ()) -> None:
        self._lock = threading.Lock()
        self._reasons = {str(name): str(reason) for name, reason in uncounted}
        self._uncounted = frozenset(self._reasons)
        for name, reason in rows:
            self.add(name, reason)

    def __len__(self) -> int:
        return len(self._reasons)

    def __contains__(self, name: str) -> bool:
        return name in self._reasons

    @property
    def rows(self) -> list[tuple[str, str]]:
        with self._lock:
            return list(self._reasons.items())

    @property
    def counted(self) -> list[tuple[str, str]]:
        return [row for row in self.rows if row[0] not in self._uncounted]

    def add(self, name: str, reason: str) -> None:
        """Notes that `name` cannot be used because of `reason`."""
        with self._lock:
            self._reasons.setdefault(str(name), str(reason))

    def share(self, total: int) -> float:
        """The counted rows as a share of `total` inputs, 0 to 1."""
        count = len(self.counted)
        return count / total if total else float(bool(count))

    def check(self, total: int, max_share: float) -> None:
        """Raises `QuarantineError` where the counted rows are more than `max_share` of `total` inputs."""
        share = self.share(total)
        if share <= max_share:
            return
        rows = self.counted
        shown = "".join(f"\n  {name}: {reason}" for name, reason in rows[:5])
        more = f"\n  and {len(rows) - 5} more" if len(rows) > 5 else ""
        raise QuarantineError(
            f"{len(rows)} of {total} inputs ({share:.1%}) cannot be used, and `data.max_bad_share` allows "
            f"{max_share:.1%}. Repair or remove them, or raise `data.max_bad_share`:{shown}{more}"
        )

    def save(self, path: str | Path) -> None:
        """Writes one JSON line a row: `{"name": ..., "reason": ...}`; overwrites `path`."""
        lines = [json.dumps({"name": name, "reason": reason}, ensure_ascii=False) for name, reason in self.rows]
        Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
