"""The quarantine list counts each input once, from any thread, and stops a run above the configured share."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from vl_keras.data.quarantine import Quarantine
from vl_keras.errors import QuarantineError


def test_keeps_each_name_once_with_its_first_reason_whatever_the_threads():
    quarantine = Quarantine()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: quarantine.add(f"{i % 37}.jpg", f"reason {i % 37}"), range(2000)))
    quarantine.add("5.jpg", "another reason")
    assert sorted(quarantine.rows) == sorted((f"{i}.jpg", f"reason {i}") for i in range(37))


def test_stops_above_the_share_only_and_says_what_and_which_key():
    quarantine = Quarantine((f"{i}.jpg", "cut short") for i in range(7))
    quarantine.check(70, 0.1)
    with pytest.raises(QuarantineError) as error:
        quarantine.check(69, 0.1)
    for part in ("7 of 69", "10.1%", "10.0%", "data.max_bad_share", "0.jpg: cut short", "2 more"):
        assert part in str(error.value)
    Quarantine().check(0, 0.0)
    with pytest.raises(QuarantineError):
        quarantine.check(0, 0.5)


def test_saves_one_json_line_a_row(tmp_path):
    rows = [("a b.jpg", "no “image”"), ("c.jpg", "2\nlines")]
    Quarantine(rows).save(tmp_path / "q.jsonl")
    lines = (tmp_path / "q.jsonl").read_text(encoding="utf-8").splitlines()
    assert [tuple(json.loads(line).values()) for line in lines] == rows
