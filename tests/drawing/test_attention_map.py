"""Attention maps: the lightest place is the one that was looked at, whatever the image shows; and their scales."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vl_keras.drawing.attention_drawing import explanation_sheet
from vl_keras.drawing.attention_map import overlay, overlay_with_scale, percent, scale_bar, scale_height
from vl_keras.drawing.sheet_limits import MAX_SIDE

RNG = np.random.default_rng(3)
IMAGES = {
    "black": np.zeros((60, 80, 3), np.uint8),
    "white": np.full((60, 80, 3), 255, np.uint8),
    "noise": RNG.integers(0, 256, (60, 80, 3), np.uint8),
    "checks": np.kron(np.indices((6, 8)).sum(axis=0) % 2 * 255, np.ones((10, 10)))[..., None]
    .repeat(3, 2)
    .astype(np.uint8),
}


def lightness(image):
    return np.asarray(image.convert("L")).astype(int)


def explanation(count, grid=(3, 4), grad_cam=True, probabilities=True):
    maps = RNG.dirichlet(np.ones(int(np.prod(grid))), count)
    return SimpleNamespace(
        caption="a word " * count,
        words=[f"word{number}" for number in range(count)],
        attention=maps.reshape(count, *grid),
        probabilities=RNG.random(count) if probabilities else None,
        grad_cam=RNG.random((count, *grid)) if grad_cam else None,
    )


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("seed", range(4))
def test_the_lightest_pixel_lies_in_the_region_with_the_largest_weight(name, seed):
    weights = np.random.default_rng(seed).dirichlet(np.full(12, 0.5)).reshape(3, 4)
    drawn = lightness(overlay(Image.fromarray(IMAGES[name]), weights, mark=False))
    y, x = np.unravel_index(drawn.argmax(), drawn.shape)
    assert (y * 3 // 60, x * 4 // 80) == np.unravel_index(weights.argmax(), weights.shape)


@pytest.mark.parametrize("name", IMAGES)
def test_where_the_map_is_zero_the_image_is_a_dark_grey(name):
    drawn = np.asarray(overlay(Image.fromarray(IMAGES[name]), np.zeros((3, 4)))).astype(int)
    assert drawn.max() < 128 and np.ptp(drawn, axis=-1).max() <= 4


def test_colors_become_lighter_with_the_number():
    bar = np.asarray(scale_bar(300, 20, "", "", 12).convert("L")).astype(int)[10, 10:-10]
    assert (np.diff(bar) >= -1).all() and bar[-1] - bar[0] > 150  # colors are rounded to 8 bits


def test_a_scale_stands_below_its_map_and_ends_at_the_largest_number():
    image, weights = Image.fromarray(IMAGES["noise"]), np.array([[0.25, 0.75]])
    drawn = overlay_with_scale(image, weights, 10)
    assert drawn.size == (80, 60 + scale_height(10))
    np.testing.assert_array_equal(np.asarray(drawn)[:60], np.asarray(overlay(image, weights)))
    other = overlay_with_scale(image, weights / 3, 10)  # the same map, another number
    assert (np.asarray(drawn)[:60] == np.asarray(other)[:60]).all()
    assert (np.asarray(drawn)[60:] != np.asarray(other)[60:]).any()
    assert [percent(share) for share in (0, 0.034, 0.0996, 0.25, 1)] == ["0.0 %", "3.4 %", "10 %", "25 %", "100 %"]


@pytest.mark.parametrize("count", [0, 1, 20, 400])
def test_a_sheet_of_any_number_of_words_stays_within_the_limit(count):
    sheet = explanation_sheet(explanation(count), IMAGES["noise"], "n" * 300, "a note")
    assert max(sheet.size) <= MAX_SIDE
    if count <= 6:
        assert sheet.width <= 780  # on a phone of 390 pixels, letters are half as large


def test_a_sheet_says_what_its_numbers_are(monkeypatch):
    texts = []
    from PIL import ImageDraw

    draw_text = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda pen, place, text, *args, **named: texts.append(text) or draw_text(pen, place, text, *args, **named),
    )
    explained = explanation(2)
    explanation_sheet(explained, IMAGES["noise"], "dog.jpg", "context: at noon")
    written = " ".join(" ".join(texts).split())
    assert "dog.jpg" in written and "context: at noon" in written
    assert "share of the word's attention weight in each of 3 x 4 regions" in written and "Grad-CAM" in written
    for word, maps, chance in zip(explained.words, explained.attention, explained.probabilities, strict=True):
        assert {word, percent(maps.max()), f"{chance:.2f}"} <= set(texts)


@pytest.mark.parametrize("attention", [None, np.full((2, 5), 0.2)], ids=["none", "boxes or moments"])
def test_tokens_without_a_place_in_the_image_have_no_maps(attention):
    explained = explanation(2, grad_cam=False)
    with_maps = explanation_sheet(explained, IMAGES["noise"])
    explained.attention = attention
    assert explanation_sheet(explained, IMAGES["noise"]).height < with_maps.height
