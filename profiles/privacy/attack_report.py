"""A self-contained page on the attacks of a run: figures, a plot, originals and reconstructions."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment
from numpy.typing import NDArray

from ...errors import InputError
from .attack_results import ATTACKERS, PICTURES, AttackResult, Attacks, read_attacks
from .protections import NO_PROTECTION

__all__ = ["attack_report"]

SCALE = 2
"""Pictures are drawn with this many pixels per pixel of the image."""

TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Model inversion: {{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .15rem .7rem; text-align: right }
th { border-bottom: 1px solid #999 } td:first-child, th:first-child, td.words { text-align: left }
img { image-rendering: pixelated; vertical-align: middle }
</style></head><body>
<h1>Model inversion: {{ title }}</h1>
<p>A decoder was trained for every cut, attacker and defence on {{ settings.attacker_images }} public images
({{ settings.decoder.epochs }} passes) and tried on {{ settings.evaluated }} test images that it never saw.
Guessing the mean image gives an MSE of {{ '%.4f' % mean }}. Leakage is 1 - MSE / that.</p>
{{ plot | safe }}
{% for section in sections %}
<h2>{{ section.title }}</h2>
<table><tr><th>cut</th><th>attacker</th><th>defence</th><th>MSE</th><th>PSNR dB</th><th>SSIM</th><th>leakage</th>
<th>accuracy</th><th>originals above, reconstructions below</th></tr>
{% for row in section.rows %}
<tr><td>{{ row.result.cut }}</td><td>{{ row.result.attacker }}</td><td>{{ row.result.protection }}</td>
<td>{{ '%.5f' % row.result.mse }}</td><td>{{ '%.2f' % row.result.psnr_db }}</td><td>{{ '%.3f' % row.result.ssim }}</td>
<td>{{ '%.3f' % row.leakage }}</td><td>{{ '%.2f' % (100 * row.result.accuracy) }} %</td>
<td class="words"><img alt="originals and reconstructions" src="data:image/png;base64,{{ row.picture }}"></td></tr>
{% endfor %}</table>
{% endfor %}
</body></html>
"""


@dataclass(frozen=True)
class _Row:
    result: AttackResult
    leakage: float
    picture: str


@dataclass(frozen=True)
class _Section:
    title: str
    rows: list[_Row]


def attack_report(folder: Path, title: str = "") -> str:
    """The page for the attacks in a run folder, as HTML that needs no other file.

    Raises:
        InputError: If the folder holds no attacks or a picture is missing.
    """
    attacks = read_attacks(folder)
    if attacks is None or not attacks.results:
        raise InputError(folder, "", "must hold attacks", None, "run 'edgecloud profiles attack' on it")
    plain = [row for row in attacks.results if row.protection == NO_PROTECTION.name]
    guarded = [row for row in attacks.results if row.protection != NO_PROTECTION.name]
    sections = [
        _section(
            f"Attacker with images of: {attacker}", [row for row in plain if row.attacker == attacker], folder, attacks
        )
        for attacker in ATTACKERS
    ]
    names = dict.fromkeys(row.protection for row in guarded)
    sections += [
        _section(f"Defence: {name}", [row for row in guarded if row.protection == name], folder, attacks)
        for name in names
    ]
    page = Environment(autoescape=True).from_string(TEMPLATE)
    return page.render(
        title=title or folder.name,
        settings=attacks.settings,
        mean=attacks.mean_image_mse,
        plot=_plot(attacks),
        sections=[section for section in sections if section.rows],
    )


def _section(title: str, results: list[AttackResult], folder: Path, attacks: Attacks) -> _Section:
    rows = [
        _Row(row, min(1.0, max(0.0, 1 - row.mse / attacks.mean_image_mse)), _picture(folder, row))
        for row in sorted(results, key=lambda row: row.cut)
    ]
    return _Section(title, rows)


def _picture(folder: Path, row: AttackResult) -> str:
    """Originals above reconstructions, as a PNG in base64."""
    path = folder / PICTURES / f"{row.cut}-{row.attacker}-{row.protection}.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            originals, copies = arrays["originals"], arrays["copies"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(path, "", "must hold originals and reconstructions", str(error)) from error
    return _png(np.concatenate([_side_by_side(originals), _side_by_side(copies)], axis=0))


def _side_by_side(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (n, c, h, w) as one strip (h, n * w, 3)."""
    colour = np.broadcast_to(images, (len(images), 3, *images.shape[2:]))
    return np.concatenate(list(colour.transpose(0, 2, 3, 1)), axis=1)


def _png(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image

    larger = np.repeat(np.repeat(pixels, SCALE, axis=0), SCALE, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(larger).save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _plot(attacks: Attacks) -> str:
    """MSE and SSIM over the cuts, one line per attacker and per defence, as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    errors, similarity = figure.subplots(1, 2)
    for attacker, protection in dict.fromkeys((row.attacker, row.protection) for row in attacks.results):
        rows = [row for row in attacks.results if (row.attacker, row.protection) == (attacker, protection)]
        rows.sort(key=lambda row: row.cut)
        plain = protection == NO_PROTECTION.name
        label = attacker if plain else protection
        style = "-" if plain else "--"
        errors.plot([row.cut for row in rows], [row.mse for row in rows], style, marker="o", label=label)
        similarity.plot([row.cut for row in rows], [row.ssim for row in rows], style, marker="o", label=label)
    errors.axhline(attacks.mean_image_mse, color="grey", linewidth=1)
    errors.set(xlabel="cut", ylabel="MSE (grey: mean image)", yscale="log")
    similarity.set(xlabel="cut", ylabel="SSIM", ylim=(0, 1))
    similarity.legend(fontsize=8)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    return text[text.index("<svg") :]
