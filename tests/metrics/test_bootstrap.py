import time

import numpy as np
import pytest

from vl_keras.metrics.bootstrap import bleu_of_sums, bootstrap_interval
from vl_keras.metrics.caption_scores import score_captions


def test_the_same_seed_gives_the_same_interval_and_the_mean_lies_inside():
    values = np.random.default_rng(0).gamma(2.0, size=333)
    low, high = bootstrap_interval(values)
    assert (low, high) == bootstrap_interval(values) != bootstrap_interval(values, seed=1)
    assert low < values.mean() < high


def test_the_interval_of_a_mean_has_the_normal_width():
    values = np.random.default_rng(1).normal(size=2000)
    low, high = bootstrap_interval(values, resamples=4000)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / np.sqrt(2000), rel=0.07)


def test_equal_images_leave_nothing_to_doubt():
    assert bootstrap_interval(np.full(17, 0.4)) == pytest.approx((0.4, 0.4))


def test_a_higher_level_is_wider_and_order_does_not_move_the_scale():
    values = np.random.default_rng(2).random(150)
    narrow, wide = bootstrap_interval(values, level=0.8), bootstrap_interval(values, level=0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    np.testing.assert_allclose(bootstrap_interval(values * 3 + 1), np.asarray(bootstrap_interval(values)) * 3 + 1)


def test_bleu_is_resampled_as_a_corpus():
    """Each resample's BLEU equals the scorer's on the images drawn, repeats included."""
    references = {i: [f"a dog {i % 3} runs on the grass", "two kids"] for i in range(11)}
    candidates = {i: "a dog 1 runs on grass" if i % 2 else f"a dog {i % 3} runs on the grass" for i in range(11)}
    scores = score_captions(references, candidates)
    drawn = np.random.default_rng(5).integers(0, 11, 11)
    resampled = score_captions(
        {j: references[i] for j, i in enumerate(drawn)}, {j: candidates[i] for j, i in enumerate(drawn)}
    )
    sums = scores.bleu_statistics[drawn].sum(axis=0)
    assert bleu_of_sums(sums, 4) == pytest.approx(resampled.metrics["BLEU-4"])
    low, high = scores.intervals()["BLEU-4"]
    assert low < scores.metrics["BLEU-4"] < high


def test_a_thousand_resamples_are_quick():
    statistics = np.random.default_rng(3).integers(1, 9, (1000, 10))
    start = time.perf_counter()
    for order in range(1, 5):
        bootstrap_interval(statistics, lambda sums, count, order=order: bleu_of_sums(sums, order))
    assert time.perf_counter() - start < 10


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="at least one image"):
        bootstrap_interval([])
    with pytest.raises(ValueError, match="level"):
        bootstrap_interval([1.0], level=95)
    with pytest.raises(ValueError, match="resamples"):
        bootstrap_interval([1.0], resamples=0)
