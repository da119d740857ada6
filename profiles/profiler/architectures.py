"""Architectures that torch does not bring and the catalogue needs: VGG16, and a plain chain for examples and tests."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["Vgg", "plain_chain", "vgg16"]

VGG16_WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
"""Configuration D of Simonyan and Zisserman (ICLR 2015), table 1; 0 is a 2x2 max pooling."""


class Vgg(nn.Module):
    """3x3 convolutions with ReLU and 2x2 max poolings, then three linear layers.

    Args:
        widths: Output channels of each convolution; 0 for a pooling.
        pixels: Height and width of the image.
        hidden: Width of the two hidden linear layers.
        classes: Number of classes.
    """

    def __init__(
        self, widths: Sequence[int] = VGG16_WIDTHS, pixels: int = 224, hidden: int = 4096, classes: int = 1000
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in widths:
            if width:
                layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            else:
                layers.append(nn.MaxPool2d(2))
                pixels //= 2
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * pixels * pixels, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, 3, pixels, pixels)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


def vgg16(pixels: int = 224, classes: int = 1000) -> Vgg:
    """VGG16 with random weights (He initialisation): 138,357,544 parameters at 224 pixels and 1,000 classes."""
    return Vgg(pixels=pixels, classes=classes)


def plain_chain(pixels: int = 32, classes: int = 10) -> nn.Sequential:
    """Three convolutions and a linear layer, one after another."""
    return nn.Sequential(
        nn.Conv2d(3, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(pixels // 16),
        nn.Flatten(),
        nn.Linear(32 * (pixels // 16) ** 2, classes),
    )
