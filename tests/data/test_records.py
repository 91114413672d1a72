"""Our reader gives what TensorFlow wrote, and a damaged place costs only the record it lies in."""

import numpy as np
import pytest
import tensorflow as tf

from vl_keras.data.records import RecordReader

SIZES = (5, 300, 0, 70_000, 17, 2_000, 64)


@pytest.fixture
def records():
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, size, np.uint8).tobytes() for size in SIZES]


def write(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path


def read(*paths):
    reader = RecordReader(paths)
    return [reader.read(number) for number in range(len(reader))], reader.damage


def starts(records):
    return np.cumsum([0] + [12 + len(record) + 4 for record in records])


def test_reads_what_tensorflow_writes_over_several_files(tmp_path, records):
    paths = [write(tmp_path / "a", records), write(tmp_path / "b", []), write(tmp_path / "c", records[::-1])]
    assert read(*paths) == (records + records[::-1], [])
    assert read() == ([], [])


@pytest.mark.parametrize("place", ["length", "length checksum", "data", "data checksum"])
@pytest.mark.parametrize("number", [0, 3, 6])
def test_a_changed_byte_costs_one_record(tmp_path, records, place, number):
    path = write(tmp_path / "a", records)
    content = bytearray(path.read_bytes())
    start = starts(records)[number]
    at = {"length": 2, "length checksum": 9, "data": 12, "data checksum": 12 + len(records[number])}[place]
    content[start + at] ^= 0x40
    path.write_bytes(content)
    got, damage = read(path)
    assert got == records[:number] + records[number + 1 :]
    assert [name for name, _ in damage] == [f"a at byte {start}"]


def test_lost_bytes_cost_the_record_they_were_in(tmp_path, records):
    path = write(tmp_path / "a", records)
    content = path.read_bytes()
    start = starts(records)[3]
    path.write_bytes(content[: start + 500] + content[start + 1333 :])
    got, damage = read(path)
    assert got == records[:3] + records[4:] and len(damage) == 1


def test_a_cut_file_costs_its_last_record(tmp_path, records):
    path = write(tmp_path / "a", records)
    for end in (starts(records)[6] + 7, starts(records)[6] + 20, len(path.read_bytes()) - 1):
        cut = tmp_path / "cut"
        cut.write_bytes(path.read_bytes()[:end])
        got, damage = read(cut)
        assert got == records[:6] and len(damage) == 1


def test_a_long_zeroed_stretch_is_passed_over(tmp_path, records):
    path = write(tmp_path / "a", records)
    content = bytearray(path.read_bytes())
    first, last = starts(records)[1], starts(records)[4]
    content[first:last] = bytes(last - first)
    path.write_bytes(content)
    got, damage = read(path)
    assert got == records[:1] + records[4:] and len(damage) == 1


def test_noise_is_no_record(tmp_path):
    path = tmp_path / "noise"
    path.write_bytes(np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes())
    got, damage = read(path)
    assert got == [] and len(damage) == 1


def test_damage_after_the_scan_is_seen_when_reading(tmp_path, records):
    path = write(tmp_path / "a", records)
    index = RecordReader([path]).index
    with path.open("r+b") as file:
        file.seek(starts(records)[3] + 12 + 40_000)
        file.write(b"damage")
    reader = RecordReader([path], index)
    assert [reader.read(number) for number in range(7)] == [*records[:3], None, *records[4:]]
