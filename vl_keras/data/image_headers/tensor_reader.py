"""The operations in which the header rules are written, on a string in a graph of TensorFlow."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vl_keras.data.image_headers.byte_reader import HEAD
from vl_keras.data.image_headers.jpeg_markers import (
    APP1,
    BARE,
    EXIF,
    FILL,
    FRAME,
    KINDS,
    MOST_WINDOWS,
    ODD,
    SCAN,
    SEGMENTS,
    SIZED,
    WINDOW,
    Segments,
)

_PAD = 64  # zero bytes put after the end, and beyond a window
_NOWHERE = 2**30
# By kind: bytes to the next segment, -1 for those that say it themselves; the walk stays where it ends.
_STEP = np.array([{ODD: 0, SCAN: 0, BARE: 2, FILL: 1}.get(kind, -1) for kind in range(len(set(KINDS)))], np.int32)
_HAS_SIZE = np.array([kind not in (BARE, FILL) for kind in range(len(set(KINDS)))])
_PLACES = np.arange(WINDOW + 1, dtype=np.int32)


class TensorReader:
    """`Reader` of a scalar string tensor. Numbers are scalar int64 tensors.

    Args:
        data: scalar string.
        apart: puts each case of a `switch` in a function, which pays where there are many and long ones.
    """

    def __init__(self, data: tf.Tensor, apart: bool = True) -> None:
        self._branch: Callable[[Callable[[], tf.Tensor]], Callable[[], tf.Tensor]] = _apart if apart else lambda f: f
        self._data = tf.io.decode_raw(tf.strings.join([data, "\0" * (WINDOW + _PAD)]), tf.uint8)
        self.length = tf.size(self._data, out_type=tf.int64) - (WINDOW + _PAD)

    def big(self, place: Any, count: int) -> tf.Tensor:
        return self._number(place, count, 256 ** np.arange(count - 1, -1, -1, dtype=np.int64))

    def little(self, place: Any, count: int) -> tf.Tensor:
        return self._number(place, count, 256 ** np.arange(count, dtype=np.int64))

    def _number(self, place: Any, count: int, weights: np.ndarray) -> tf.Tensor:
        part = tf.slice(self._data, [tf.minimum(_int64(place), self.length)], [count])
        return tf.reduce_sum(tf.cast(part, tf.int64) * weights)

    def where(self, condition: Any, yes: Any, no: Any) -> tf.Tensor:
        return tf.where(condition, _value(yes), _value(no))

    def no(self, condition: Any) -> tf.Tensor:
        return tf.logical_not(condition)

    def is_one_of(self, value: tf.Tensor, values: Sequence[int]) -> tf.Tensor:
        return tf.reduce_any(value == tf.constant(list(values), tf.int64))

    def loop(self, body: Callable[..., tuple[Any, ...]], state: tuple[Any, ...], most: int) -> tuple[Any, ...]:
        def step(*old: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return tuple(map(_value, body(*old)))

        state = tuple(map(_value, state))
        return tf.while_loop(lambda going, *_: going, step, state, maximum_iterations=most)

    def switch(self, number: tf.Tensor, cases: Sequence[Callable[[], Sequence[Any]]], size: int) -> Sequence[tf.Tensor]:
        def packed(case: Callable[[], Sequence[Any]]) -> Callable[[], tf.Tensor]:
            return lambda: tf.stack([tf.cast(value, tf.int64) for value in case()])

        branches = [packed(case) for case in cases]
        values = tf.switch_case(tf.cast(number, tf.int32), [branches[0], *map(self._branch, branches[1:])])
        return tf.unstack(tf.ensure_shape(values, (size,)))

    def choose(self, cases: Sequence[tuple[Any, int]]) -> tf.Tensor:
        holds = tf.stack([case for case, _ in cases] + [tf.constant(True)])
        numbers = tf.constant([number for _, number in cases] + [0], tf.int64)
        return tf.gather(numbers, tf.argmax(tf.cast(holds, tf.int8)))

    def sniff(self, magics: Sequence[Mapping[int, bytes]]) -> tf.Tensor:
        wanted, counts = (np.zeros((len(magics) + 1, HEAD), kind) for kind in (np.uint8, bool))
        for row, magic in enumerate(magics):
            for place, content in magic.items():
                wanted[row, place : place + len(content)] = list(content)
                counts[row, place : place + len(content)] = True
        told = tf.reduce_all((self._data[:HEAD] == wanted) | ~counts, axis=1)
        numbers = tf.constant([*range(1, len(magics) + 1), 0], tf.int64)
        return tf.gather(numbers, tf.argmax(tf.cast(told, tf.int8)))

    def run(self, place: tf.Tensor, count: int, stride: tf.Tensor, most: int) -> tf.Tensor:
        fitting = (self.length - count - place) // tf.maximum(stride, 1)
        places = place + stride * tf.range(tf.clip_by_value(fitting + 1, 1, most))
        places = tf.minimum(places, self.length)[:, tf.newaxis] + tf.range(count, dtype=tf.int64)
        same = tf.reduce_all(tf.gather(self._data, places) == tf.gather(self._data, places[:1]), axis=1)
        return tf.maximum(tf.reduce_sum(tf.math.cumprod(tf.cast(same, tf.int64))), 1)

    def find(
        self, place: tf.Tensor, stride: int, value: int, is_little: tf.Tensor, count: tf.Tensor, most: int
    ) -> tf.Tensor:
        places = place + stride * tf.range(tf.minimum(_int64(count), most))
        places = tf.minimum(places, self.length)
        first, second = (tf.cast(tf.gather(self._data, places + k), tf.int64) for k in (0, 1))
        found = tf.where(is_little, first + 256 * second, 256 * first + second) == value
        found = found & (places < self.length)
        return tf.concat([tf.where(found)[:, 0], [_int64(-1)]], axis=0)[0]

    def jpeg_segments(self) -> Segments:
        zero = tf.constant(0, tf.int64)

        def go(going: tf.Tensor, *found: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return self._window(*found)

        state = (tf.constant(True), tf.constant(2, tf.int64), zero, zero, zero, tf.constant(False))
        many, place, frame, exif, scan, odd = tf.while_loop(
            lambda going, *_: going, go, state, maximum_iterations=MOST_WINDOWS
        )
        return Segments(frame, exif, scan, odd, place, many)

    def _window(
        self, base: tf.Tensor, frame: tf.Tensor, exif: tf.Tensor, scan: tf.Tensor, odd: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Walks the segments within a window from `base` on.

        All at once, by pointer doubling: where a segment at each byte of the window would end is computed for every
        byte, and then the second, the next two, four, … segments of the chain are looked up together.
        """
        part = tf.cast(tf.slice(self._data, [tf.minimum(base, self.length)], [WINDOW + _PAD]), tf.int32)
        size = 256 * part[2 : WINDOW + 3] + part[3 : WINDOW + 4]
        kind = tf.gather(tf.constant(KINDS), part[1 : WINDOW + 2])
        kind = tf.where((part[: WINDOW + 1] != 0xFF) | ((size < 2) & tf.gather(_HAS_SIZE, kind)), ODD, kind)
        step = tf.gather(_STEP, kind)
        step = tf.where(step < 0, 2 + size, step)
        jump = tf.minimum(_PLACES + step, WINDOW)
        places = tf.constant([0])
        for _ in range(SEGMENTS.bit_length() - 1):
            places = tf.concat([places, tf.gather(jump, places)], axis=0)
            jump = tf.gather(jump, jump)
        inside = places < WINDOW
        kinds = tf.where(inside, tf.gather(kind, places), SIZED)
        names = tf.gather(part, places[:, tf.newaxis] + tf.range(4, 4 + len(EXIF)))
        is_exif = (kinds == APP1) & tf.reduce_all(names == list(EXIF), axis=1)
        starts = tf.where(kinds == FRAME, places, _NOWHERE)
        own_frame = tf.reduce_min(starts)
        # A second frame ends the walk as odd bytes do: nothing behind it counts.
        second = tf.reduce_min(tf.where((starts > own_frame) | (frame > 0), starts, _NOWHERE))
        stop = tf.minimum(second, tf.reduce_min(tf.where(kinds == ODD, places, _NOWHERE)))
        found = tf.stack([kinds == FRAME, is_exif, kinds == SCAN]) & (places < stop)
        first = tf.cast(tf.reduce_min(tf.where(found, places, _NOWHERE), axis=1), tf.int64)
        own_frame, own_exif, own_scan = tf.unstack(first)
        odd = stop != _NOWHERE
        last = tf.reduce_max(tf.where(inside, places, -1))
        following = base + tf.cast(tf.where(odd, stop, last + tf.gather(step, last)), tf.int64)
        frame = tf.where((frame == 0) & (own_frame != _NOWHERE), base + own_frame, frame)
        exif = tf.where((exif == 0) & (own_exif != _NOWHERE), base + own_exif + 4 + len(EXIF), exif)
        scan = tf.where(own_scan != _NOWHERE, base + own_scan, scan)
        return ~odd & (scan == 0), following, frame, exif, scan, odd

    def count_scans(self, place: tf.Tensor) -> tf.Tensor:
        file = self._data[place + 2 : self.length]
        return tf.reduce_sum(tf.cast((file[:-1] == 0xFF) & (file[1:] == 0xDA), tf.int64))

    def next_markers(self) -> Callable[[tf.Tensor], tf.Tensor]:
        first, second = self._data[: self.length], self._data[1 : self.length + 1]
        ends = (second == 0x00) | (second == 0xFF) | ((second >= 0xD0) & (second <= 0xD7))
        places = tf.where((first == 0xFF) & ~ends & (tf.range(self.length) < self.length - 1))[:, 0]
        places = tf.concat([places, [self.length]], axis=0)
        return lambda place: places[tf.searchsorted(places[:-1], tf.reshape(place, (1,)))[0]]

    def has_end_marker(self, place: tf.Tensor) -> tf.Tensor:
        def anywhere() -> tf.Tensor:
            file = self._data[: self.length]
            return tf.reduce_any((file[:-1] == 0xFF) & (file[1:] == 0xD9) & (tf.range(self.length - 1) > place))

        # Most files end with it, which is told quickly.
        ends = (self.big(tf.maximum(self.length - 2, 0), 2) == 0xFFD9) & (self.length - 2 > place)
        return tf.cond(ends, lambda: tf.constant(True), anywhere)


def _apart(function: Callable[[], tf.Tensor]) -> Callable[[], tf.Tensor]:
    """The function as one operation of the graph that calls it.

    The operations of a branch that is not taken still cost a row their time, unless they are in such a function, which
    has its own price.
    """
    if tf.executing_eagerly():
        return function
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def _int64(value: Any) -> tf.Tensor:
    return tf.cast(value, tf.int64)


def _value(value: Any) -> tf.Tensor:
    """A flag or a number as a tensor."""
    if isinstance(value, tf.Tensor):
        return value
    return tf.constant(value) if isinstance(value, bool) else tf.constant(value, tf.int64)
