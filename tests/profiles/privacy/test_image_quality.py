import numpy as np
import pytest

from edgecloud.profiles.privacy.image_quality import image_quality, psnr_db, squared_errors, ssim


def pair(seed: int = 0, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first = rng.uniform(0, 1, (4, channels, 20, 24))
    return first, np.clip(first + rng.normal(0, 0.1, first.shape), 0, 1)


def slow_ssim(first: np.ndarray, second: np.ndarray) -> float:
    """One channel, window by window, from the formula of Wang et al. 2004 with sample covariances."""
    values = []
    for row in range(first.shape[0] - 6):
        for column in range(first.shape[1] - 6):
            x = first[row : row + 7, column : column + 7].ravel()
            y = second[row : row + 7, column : column + 7].ravel()
            (var_x, cov), (_, var_y) = np.cov(x, y)
            above = (2 * x.mean() * y.mean() + 1e-4) * (2 * cov + 9e-4)
            values.append(above / ((x.mean() ** 2 + y.mean() ** 2 + 1e-4) * (var_x + var_y + 9e-4)))
    return float(np.mean(values))


def test_ssim_is_the_formula():
    first, second = pair()
    expected = [
        np.mean([slow_ssim(a, b) for a, b in zip(x, y, strict=True)]) for x, y in zip(first, second, strict=True)
    ]
    assert ssim(first, second) == pytest.approx(expected, abs=1e-10)


def test_ssim_is_that_of_scikit_image():
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    for channels in (1, 3):
        first, second = pair(1, channels)
        expected = [
            metrics.structural_similarity(x, y, data_range=1.0, channel_axis=0)
            for x, y in zip(first, second, strict=True)
        ]
        assert ssim(first, second) == pytest.approx(expected, abs=1e-10)


def test_ssim_of_equal_and_of_inverted_images():
    first, _ = pair()
    assert ssim(first, first) == pytest.approx(1)
    assert np.all(ssim(first, 1 - first) < 0)


def test_a_constant_shift_in_closed_form():
    """Flat images: only the luminance term is left, and the PSNR is that of the shift."""
    first, second = np.full((1, 1, 9, 9), 0.5), np.full((1, 1, 9, 9), 0.6)
    found = image_quality(first, second)
    assert found.mse == pytest.approx(0.01)
    assert found.psnr_db == pytest.approx(20)
    assert found.ssim == pytest.approx((2 * 0.5 * 0.6 + 1e-4) / (0.25 + 0.36 + 1e-4))


def test_errors_are_per_image_and_exact_copies_are_finite():
    first, second = pair()
    second[2] = first[2]
    errors = squared_errors(first, second)
    assert errors.shape == (4,)
    assert errors[2] == 0
    assert errors[0] == pytest.approx(np.mean((first[0] - second[0]) ** 2))
    assert psnr_db(errors)[2] == 100
