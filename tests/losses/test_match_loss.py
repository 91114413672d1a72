import numpy as np
import pytest

from vl_keras.losses.match_loss import MatchLoss

B, K = 3, 2


def _softplus(x):
    return np.logaddexp(0.0, x)


@pytest.mark.parametrize("hardest", [False, True])
def test_formula(hardest):
    logits = np.random.default_rng(0).normal(0, 2, (B, B * K, 1)).astype(np.float32)
    expected = np.zeros((B, K))
    for b in range(B):
        for k in range(K):
            text = b * K + k
            others = [logits[i, text, 0] for i in range(B) if i != b]
            foreign = [logits[b, j, 0] for j in range(B * K) if j // K != b]
            negative = 0.5 * (_softplus(max(others)) + _softplus(max(foreign))) if hardest else _softplus(others).mean()
            expected[b, k] = _softplus(-logits[b, text, 0]) + negative
    loss = MatchLoss(hardest, reduction="none")
    np.testing.assert_allclose(loss(np.ones((B, K, 1)), logits), expected, rtol=1e-5)


@pytest.mark.parametrize("hardest", [False, True])
def test_one_image_has_no_negative(hardest):
    logits = np.array([[[0.3], [-0.2]]], np.float32)
    found = MatchLoss(hardest, reduction="none")(np.ones((1, 2, 1)), logits)
    np.testing.assert_allclose(found, _softplus(-logits[..., 0]), rtol=1e-6)


@pytest.mark.parametrize("hardest", [False, True])
def test_what_is_missing_is_no_negative(hardest):
    loss = MatchLoss(hardest, reduction="none")
    logits = np.random.default_rng(1).normal(0, 2, (B + 1, (B + 1) * K, 1)).astype(np.float32)
    there = np.ones((B + 1, K, 1), np.float32)
    there[1] = 0  # an image that could not be read
    there[2, 1] = 0  # an image with one text fewer
    found = loss(there, logits).numpy()[there[..., 0] > 0]

    keep, images = np.flatnonzero(there.reshape(-1)), (0, 2, 3)
    expected = []
    for text in keep:
        own = text // K
        others = [logits[i, text, 0] for i in images if i != own]
        foreign = [logits[own, j, 0] for j in keep if j // K != own]
        negative = 0.5 * (_softplus(max(others)) + _softplus(max(foreign))) if hardest else _softplus(others).mean()
        expected.append(_softplus(-logits[own, text, 0]) + negative)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
