"""How near a reconstructed image is to the original: mean squared error, PSNR and SSIM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

__all__ = ["Quality", "image_quality", "psnr_db", "squared_errors", "ssim"]

FloatArray = NDArray[np.floating]

WINDOW = 7
LEAST_ERROR = 1e-10
"""Mean squared errors below this count as this in the PSNR, so that an exact copy has 100 dB."""


@dataclass(frozen=True)
class Quality:
    """Means over images."""

    mse: float
    """Mean squared error of pixels in [0, 1]."""
    psnr_db: float
    ssim: float


def squared_errors(originals: FloatArray, copies: FloatArray) -> NDArray[np.float64]:
    """Mean squared error of each image, shape (n,), of images (n, c, h, w) in [0, 1]."""
    gap = originals.astype(np.float64) - copies
    errors: NDArray[np.float64] = np.square(gap).mean(axis=(1, 2, 3))
    return errors


def psnr_db(errors: FloatArray) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio in dB of images in [0, 1] from their mean squared errors, same shape.

    >>> psnr_db(np.array([0.01])).round(6).tolist()
    [20.0]
    """
    return np.asarray(-10 * np.log10(np.maximum(errors, LEAST_ERROR)), dtype=np.float64)


def ssim(originals: FloatArray, copies: FloatArray) -> NDArray[np.float64]:
    """Structural similarity of each pair of images (Wang et al., IEEE Trans. Image Processing 2004, equation 13).

    Uniform window of 7x7 pixels, sample covariance, constants 0.01 and 0.03, mean over the windows that lie inside the
    image and over the channels: the defaults of `skimage.metrics.structural_similarity` with `data_range=1`.

    Args:
        originals: Shape (n, c, h, w), pixels in [0, 1], at least 7x7.
        copies: The same shape.

    Returns:
        Shape (n,); 1 for equal images.
    """
    first, second = originals.astype(np.float64), copies.astype(np.float64)
    margin = WINDOW // 2

    def smooth(values: FloatArray) -> FloatArray:
        filtered = uniform_filter(values, size=(1, 1, WINDOW, WINDOW))
        return np.asarray(filtered[..., margin:-margin, margin:-margin], dtype=np.float64)

    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    mean_1, mean_2 = smooth(first), smooth(second)
    variance_1 = unbiased * (smooth(first * first) - mean_1 * mean_1)
    variance_2 = unbiased * (smooth(second * second) - mean_2 * mean_2)
    covariance = unbiased * (smooth(first * second) - mean_1 * mean_2)
    small_1, small_2 = 0.01**2, 0.03**2
    above = (2 * mean_1 * mean_2 + small_1) * (2 * covariance + small_2)
    below = (mean_1**2 + mean_2**2 + small_1) * (variance_1 + variance_2 + small_2)
    return np.asarray((above / below).mean(axis=(1, 2, 3)), dtype=np.float64)


def image_quality(originals: FloatArray, copies: FloatArray) -> Quality:
    """Means over the images of squared error, PSNR and SSIM; images (n, c, h, w) in [0, 1]."""
    errors = squared_errors(originals, copies)
    return Quality(
        mse=float(errors.mean()), psnr_db=float(psnr_db(errors).mean()), ssim=float(ssim(originals, copies).mean())
    )
