"""Exact against greedy, the queue against Lindley's recursion, formulas against measured networks."""

from __future__ import annotations

import numpy as np
import pytest
import reproduce_splitllm as script
from hypothesis import given, settings
from hypothesis import strategies as st
from transformer_models import bert, cmt, gpt2, transformer

from edgecloud.profiles import load_profile
from edgecloud.profiles.sequence import at_length

positive = st.floats(1e-3, 1.0)
layers = st.lists(st.tuples(positive, st.floats(0.0, 1e7), positive), min_size=1, max_size=8)


@given(layers, st.floats(1e6, 1e9), st.floats(0.05, 1.0))
@settings(max_examples=40, deadline=None)
def test_the_exact_method_keeps_the_most(rows, bandwidth_bps, limit):
    client, sizes, value = np.array(rows).T
    found = script.solve(script.Task("random", client, np.append(sizes, 8.0), value), bandwidth_bps, limit)
    if found is not None:
        assert found.kept["DP"] >= found.kept["greedy"] - 1e-9
        assert found.kept["DP"] >= found.kept["no split"] - 1e-9
        assert found.kept["DP"] <= 1.0 + 1e-9


def test_with_all_the_time_everything_stays_on_the_client():
    found = script.solve(script.Task.of(bert(512)), 100e6, 1.02)  # times are rounded up to units
    assert found is not None
    assert found.kept == pytest.approx({"DP": 1.0, "greedy": 1.0, "no split": 1.0})


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.0, 5.0)), min_size=1, max_size=30))
def test_waiting_is_lindleys_recursion(rows):
    service, gaps = np.array(rows).T
    wait, expected = 0.0, [0.0]
    for before, gap in zip(service[:-1], gaps[1:], strict=True):
        wait = max(0.0, wait + before - gap)
        expected.append(wait)
    assert script.waiting_s(service, gaps) == pytest.approx(expected, abs=1e-9)


def test_a_light_load_waits_as_pollaczek_and_khinchine_say():
    beta, service = 0.1, 0.05  # load one half, constant service: mean waiting is service / 2
    mean_s, _ = script.waits(beta, {"DP": np.array([service])}, seed=0, runs=20)["DP"]
    assert mean_s == pytest.approx(service / 2, rel=0.05)


@pytest.mark.parametrize(("make", "name"), [(bert, "bert-base"), (gpt2, "gpt2")])
@pytest.mark.parametrize("length", [32, 128, 512])
def test_operations_are_those_that_were_counted_on_the_real_network(make, name, length):
    counted = sum(stage.flops for stage in at_length(load_profile(name), length).stages)
    assert make(length).flops.sum() == pytest.approx(counted, rel=1e-3)


def test_shapes_and_anchors():
    assert cmt(224).flops.sum() / 2 == pytest.approx(4.0e9, rel=0.01)  # multiply-adds, as others quote its paper
    for chain in (transformer(64), bert(64), gpt2(64), cmt(224)):
        assert len(chain.cut_bytes) == len(chain.flops) + 1
    assert script.Task.of(transformer(4096)).client_s.sum() == pytest.approx(script.CLIENT_S)


def test_the_command_prints_theirs_and_ours(capsys):
    script.main(["--quick"])
    text = capsys.readouterr().out
    assert "ours / theirs" in text
    assert "gain over greedy" in text
    assert "maximum waiting, no split" in text
