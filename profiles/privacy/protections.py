"""Defences at a cut that need no training: rounding, noise, dropout, and a narrow channel bottleneck."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InputError

__all__ = ["KINDS", "NO_PROTECTION", "Protect", "ProtectionKind", "fit_protection", "parse_protection", "through_int8"]

Protect = Callable[[Tensor, torch.Generator], Tensor]
"""A fitted defence: what is sent instead of an activation (n, c, h, w), float32."""

CLIP_QUANTILE = 0.999
KINDS = {
    "none": "the float32 activation itself",
    "int8": "eight bits per element, scaled per sample by its maximum",
    "gaussian": "activation clipped to its 99.9 % quantile, Gaussian noise with LEVEL times that as deviation",
    "laplace": "activation clipped to its 99.9 % quantile, Laplace noise with LEVEL times that as scale",
    "dropout": "each element is zero with probability LEVEL, the others are divided by 1 - LEVEL",
    "bottleneck": "channels projected to the share LEVEL of their leading principal components",
}
"""What each kind sends; quantiles and principal components come from held-out training images."""


@dataclass(frozen=True)
class ProtectionKind:
    """A defence and how strong it is."""

    kind: str
    level: float = 0.0

    @property
    def name(self) -> str:
        """`kind`, or `kind-level` where there are levels."""
        return self.kind if self.kind in ("none", "int8") else f"{self.kind}-{self.level:g}"

    @property
    def description(self) -> str:
        """What is sent, in words."""
        return KINDS[self.kind].replace("LEVEL", f"{self.level:g}")


NO_PROTECTION = ProtectionKind("none")


def parse_protection(text: str) -> ProtectionKind:
    """A defence from `none`, `int8` or `kind:level`.

    Raises:
        InputError: If the kind is unknown or the level is not a number above 0 (below 1 for dropout and bottleneck).

    >>> parse_protection("laplace:0.1").name
    'laplace-0.1'
    """
    kind, _, level_text = text.partition(":")
    if kind not in KINDS:
        raise InputError("--protect", "", f"must be one of {', '.join(KINDS)}", text)
    if kind in ("none", "int8"):
        if level_text:
            raise InputError("--protect", kind, "takes no level", text)
        return ProtectionKind(kind)
    try:
        level = float(level_text)
    except ValueError as error:
        raise InputError("--protect", kind, "needs a level, as in laplace:0.1", text) from error
    highest = 1.0 if kind in ("dropout", "bottleneck") else 10.0
    if not 0 < level < highest:
        raise InputError("--protect", kind, f"must have a level above 0 and below {highest:g}", text)
    return ProtectionKind(kind, level)


def through_int8(activation: Tensor) -> Tensor:
    """Non-negative activations (n, c, h, w) after rounding to 0..255, scaled per sample by its maximum."""
    scale = activation.amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12) / 255
    return torch.round(activation / scale) * scale


def fit_protection(protection: ProtectionKind, sample: Tensor) -> Protect:
    """A defence with its constants taken from a sample of activations.

    Args:
        protection: Kind and level.
        sample: Activations of held-out training images at the cut, (n, c, h, w), n >= 1.

    Returns:
        A function of an activation and a generator of random numbers; the deterministic kinds ignore the latter.
    """
    level = protection.level
    if protection.kind == "none":
        return lambda activation, generator: activation
    if protection.kind == "int8":
        return lambda activation, generator: through_int8(activation)
    if protection.kind == "dropout":
        return lambda activation, generator: _drop(activation, level, generator)
    if protection.kind == "bottleneck":
        mean, basis = principal_channels(sample.float(), level)
        return lambda activation, generator: _project(activation, mean, basis)
    bound = _quantile(sample.float(), CLIP_QUANTILE)
    noise = _laplace if protection.kind == "laplace" else _gaussian
    return lambda activation, generator: (
        activation.clamp(max=bound) + level * bound * noise(activation.shape, generator)
    )


def _quantile(values: Tensor, share: float) -> float:
    flat = values.flatten()
    return float(flat.kthvalue(max(1, round(share * len(flat)))).values)


def _gaussian(shape: torch.Size, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator)


def _laplace(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Unit-scale Laplace noise: an exponential variable with a random sign."""
    magnitude = torch.empty(shape).exponential_(generator=generator)
    return magnitude * (2.0 * torch.randint(0, 2, shape, generator=generator) - 1.0)


def _drop(activation: Tensor, share: float, generator: torch.Generator) -> Tensor:
    kept = torch.rand(activation.shape, generator=generator) >= share
    return activation * kept / (1 - share)


def principal_channels(sample: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Mean (c,) and the leading principal directions (c, k) of the channel vectors; k is `share` of c, at least 1."""
    vectors = sample.permute(0, 2, 3, 1).reshape(-1, sample.shape[1]).double()
    mean = vectors.mean(dim=0)
    centred = vectors - mean
    _, directions = torch.linalg.eigh(centred.T @ centred)
    kept = max(1, round(share * sample.shape[1]))
    return mean.float(), directions.flip(1)[:, :kept].float()


def _project(activation: Tensor, mean: Tensor, basis: Tensor) -> Tensor:
    """What the receiver rebuilds from the k numbers per position that were sent."""
    vectors = activation.permute(0, 2, 3, 1) - mean
    return ((vectors @ basis) @ basis.T + mean).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
