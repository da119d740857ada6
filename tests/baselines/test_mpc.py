"""Receding horizon: sees no future, is the programme it builds on where it may not simulate, imagines rightly."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgecloud.baselines import load_policy
from edgecloud.baselines.mpc import ModelPredictive
from edgecloud.baselines.ratepaths import RatePaths
from edgecloud.baselines.shadow import Shadow
from edgecloud.envs import Measurements, Policy, Problem, Simulator, Window, compile_problem
from edgecloud.envs.measure import column, width
from edgecloud.envs.rollout import evaluation_windows, rollout
from edgecloud.envs.state import TERMS
from edgecloud.traces import LinkTrace, generated_split

EQUAL = np.full(3, 1 / 3)
SMALL = "mpc:samples=6,candidates=4,horizon=3"


@pytest.fixture(scope="module")
def problem() -> Problem:
    return compile_problem("camera-lte")


@pytest.fixture(scope="module")
def traces() -> tuple[LinkTrace, ...]:
    return tuple(generated_split(0).validation[:2])


def drive(policy: Policy, problem: Problem, link: LinkTrace, intervals: int) -> np.ndarray:
    simulator = Simulator(problem, [link], 2, weights=EQUAL, windows=[Window(0), Window(0, 30)])
    measured = simulator.reset(5)
    policy.reset(problem, 2, np.tile(EQUAL, (2, 1)), 5)
    actions = []
    for _ in range(intervals):
        actions.append(policy.act(measured))
        measured = simulator.step(actions[-1])
    return np.array(actions)


def test_it_sees_no_future(problem: Problem):
    """Another link from some instant on, which the first environment meets at 60 s and the second at 30 s."""
    rng = np.random.default_rng(1)
    rate = rng.uniform(2e6, 3e7, 120)
    # windows wrap around: the last bins are an episode's past, so they stay
    other = np.concatenate([rate[:60], rng.uniform(1e5, 1e6, 40), rate[100:]])
    one, two = (LinkTrace("x", "car", np.arange(121.0), r, None, "x", "uplink") for r in (rate, other))
    first, second = (drive(load_policy(SMALL), problem, link, 70) for link in (one, two))
    assert (first[:61, 0] == second[:61, 0]).all()
    assert (first[:31, 1] == second[:31, 1]).all()
    assert (first != second).any()


def test_without_trust_it_is_the_programme(problem: Problem, traces: tuple[LinkTrace, ...]):
    windows = evaluation_windows(traces, problem)[:2]
    runs = [
        rollout(load_policy(spec), problem, traces, windows, EQUAL, 2)
        for spec in ("dp-held:margin=0,horizon=6", "mpc:trust=0,warm=0,caution=0,samples=2,candidates=2,horizon=1")
    ]
    assert (runs[0].actions == runs[1].actions).all()


def test_seeds_and_options_reach_it(problem: Problem, traces: tuple[LinkTrace, ...]):
    windows = evaluation_windows(traces, problem)[:1]
    one = rollout(load_policy(SMALL), problem, traces, windows, EQUAL, 2)
    harmonic = rollout(load_policy(f"{SMALL},rate=harmonic"), problem, traces, windows, EQUAL, 2)
    assert (one.actions != harmonic.actions).any()


def test_what_it_imagines_of_the_next_interval_happens_on_average(problem: Problem):
    """Dollars, latency, leakage of the next interval under another rule's actions, over many decisions."""
    links = generated_split(0).validation[:8]
    n = len(links)
    weights = np.tile(EQUAL, (n, 1))
    simulator = Simulator(problem, links, n, weights=weights, windows=[Window(k) for k in range(n)])
    measured = simulator.reset(3)
    rule, imagined = load_policy("dp-held"), Imagining(samples=12, horizon=1)
    for policy in (rule, imagined):
        policy.reset(problem, n, weights, 3)
    names = [TERMS.index(name) for name in ("usd", "latency_s", "arrived", "edge_ms", "leakage")]
    seen, happened = [], []
    for _ in range(200):
        action = rule.act(measured)
        seen.append(imagined.look(measured, action)[:, names])
        measured = simulator.step(action)
        happened.append(simulator.terms[:, names])
    np.testing.assert_allclose(np.mean(seen, axis=(0, 1)), np.mean(happened, axis=(0, 1)), rtol=0.12)


class Imagining(ModelPredictive):
    def look(self, m: Measurements, action: np.ndarray) -> np.ndarray:
        """Mean terms of the next interval in the imagined futures, (N, terms)."""
        belief = self._belief(m, self.outlook(m))
        self._shadow.rewards(belief, action[:, None, None], np.repeat(action[:, None], 2, axis=1))
        self._first = False
        return self._shadow._out.reshape(len(m), -1, len(TERMS)).mean(axis=1)


def test_recorded_arrivals_are_not_read(problem: Problem):
    counts = np.array([3, 0, 9, 5, 2, 2, 12], dtype=np.int64)
    recorded = dataclasses.replace(problem, params=problem.params._replace(arrival_counts=counts))
    assert not len(Shadow(recorded, 4, 3, 0.4, 0).params.arrival_counts)
    policy = load_policy(SMALL)
    assert drive(policy, recorded, generated_split(0).validation[0], 10).shape == (10, 2, 4)
    assert isinstance(policy, ModelPredictive)
    assert policy._arrivals.draw_rps(np.zeros((1, 3)), np.array([3.5])).tolist() == [[3.5] * 3]


def rate_rows(recent: list[float], average: float) -> Measurements:
    rows = np.zeros((1, width()))
    rows[0, column("rate_bps") : column("rate_bps") + 4] = recent
    rows[0, column("rate_average_bps")] = average
    return Measurements(rows)


def test_rate_paths():
    m = rate_rows([4e6, 1e6, 2e6, 2e6], 1e6)
    np.testing.assert_allclose(RatePaths("harmonic").median_bps(m, 2), 4 / (1 / 4 + 1 + 1 / 2 + 1 / 2) * 1e6)
    np.testing.assert_allclose(RatePaths("last").median_bps(m, 2), 4e6)
    revert = RatePaths("revert", hold=0.5, decay=0.5).median_bps(m, 3)
    np.testing.assert_allclose(revert, [[2e6, 1e6 * 4**0.25, 1e6 * 4**0.125]])
    rng = np.random.default_rng(0)
    paths = RatePaths("last", sigma=0.3, correlation=0.6).sample_bps(m, rng.standard_normal((1, 20_000, 3)))
    logs = np.log(paths[0] / 4e6)
    np.testing.assert_allclose(logs.std(axis=0), 0.3, rtol=0.03)
    assert np.corrcoef(logs[:, 0], logs[:, 1])[0, 1] == pytest.approx(0.6, abs=0.03)
    dead = RatePaths("revert").median_bps(rate_rows([0.0] * 4, 0.0), 2)
    np.testing.assert_allclose(dead, 1e5)
