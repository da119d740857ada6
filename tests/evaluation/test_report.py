import dataclasses
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from edgecloud.envs import TERMS, Problem
from edgecloud.errors import InputError
from edgecloud.evaluation import (
    Comparison,
    Method,
    draw_episodes,
    load_episodes,
    rows_of,
    save_comparison,
    save_episodes,
    write_report,
)
from edgecloud.traces import LinkTrace


@pytest.fixture(scope="module")
def page(
    comparison: Comparison,
    methods: tuple[Method, ...],
    problem: Problem,
    traces: tuple[LinkTrace, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("report")
    save_comparison(
        comparison, folder, {"command": "edgecloud evaluate <x>", "versions": {"numpy": "2"}, "runs": ["r"]}
    )
    save_episodes(draw_episodes(comparison, methods, problem, traces), folder)
    return write_report(folder, problem)


def test_it_shows_the_raw_scores(page: Path, comparison: Comparison) -> None:
    text = page.read_text(encoding="utf-8")
    rng = np.random.default_rng(comparison.seed)
    for name in comparison.presets:
        for row in rows_of(comparison, name, rng):
            assert f"<td>{row.reward.mean:.4f}</td>" in text
            assert f"<td>{row.values['latency_p99_s'] * 1e3:.1f}</td>" in text
            if row.versus is not None:
                assert f"{row.versus.difference.mean:+.4f} [" in text


def test_it_needs_nothing_else_and_escapes(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img|iframe)\b", text)
    assert "http" not in re.sub(r"http://www\.w3\.org/\S+", "", text)
    assert "edgecloud evaluate &lt;x&gt;" in text
    assert len(text) < 1_500_000


def test_its_pictures_are_well_formed(page: Path, comparison: Comparison) -> None:
    pictures = re.findall(r"<svg.*?</svg>", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(pictures) == 5 * len(comparison.presets) + 3
    for picture in pictures:
        ElementTree.fromstring(picture)


def test_episodes_are_of_the_same_world(page: Path, comparison: Comparison) -> None:
    agent, rule = load_episodes(page.parent)
    assert agent.method == "agent"
    assert rule.method not in ("agent", "best-fixed")
    np.testing.assert_array_equal(agent.terms[:, 0], rule.terms[:, 0])
    rewards = comparison.scores("agent", "default")[0]
    assert np.isclose(rewards, agent.terms[:, TERMS.index("reward")].mean()).any()


def test_a_collapsed_agent_is_pointed_out(page: Path, comparison: Comparison, tmp_path: Path) -> None:
    assert "has collapsed" not in page.read_text(encoding="utf-8")  # two constants, half of the time each
    runs = [run for run in comparison.runs if run.weights_name == "default" and run.member != "seed 1"]
    presets = {"default": comparison.presets["default"]}
    collapsed = dataclasses.replace(comparison, runs=tuple(runs), presets=presets)
    save_comparison(collapsed, tmp_path)
    assert "has collapsed" in write_report(tmp_path).read_text(encoding="utf-8")


def test_without_scores_there_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="raw scores"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_damaged_episodes_are_named(tmp_path: Path) -> None:
    (tmp_path / "episodes.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"episodes\.npz"):
        load_episodes(tmp_path)
