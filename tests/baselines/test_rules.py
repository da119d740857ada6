"""The published rules as policies: each takes the action that its definition names, worked out apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecloud.baselines import load_policy
from edgecloud.baselines.dads import chain_bottleneck_s
from edgecloud.baselines.edgent import configuration_map, deepest_exit
from edgecloud.baselines.mincut import LayerGraph, low_bottleneck_split, lowest_latency_split
from edgecloud.baselines.paths import PathPredictor, lexicographic
from edgecloud.baselines.targets import prefix_minima
from edgecloud.envs import ROUTES, Measurements, Problem, compile_problem
from edgecloud.envs.measure import column, width
from edgecloud.errors import InputError

EQUAL = np.full((1, 3), 1 / 3)


@pytest.fixture(scope="module")
def problem() -> Problem:
    return compile_problem("camera-lte")


def rows(n: int, **values: object) -> Measurements:
    """Measured rows of an idle system: all on the device, no early exit."""
    row = np.zeros((n, width()))
    defaults = {"rate_bps": 1e7, "rate_average_bps": 1e7, "rtt_s": 0.03, "arrivals": 2.0, "arrivals_average": 2.0}
    for name, value in (defaults | values).items():
        size = 4 if name in ("rate_bps", "arrivals") else 1
        row[:, column(name) : column(name) + size] = np.asarray(value, dtype=float).reshape(-1, 1)
    return Measurements(row)


def decide(spec: str, problem: Problem, m: Measurements) -> tuple[np.ndarray, np.ndarray]:
    """Actions, and the pairs of cuts."""
    policy = load_policy(spec)
    policy.reset(problem, len(m), np.repeat(EQUAL, len(m), axis=0), 0)
    actions = policy.act(m)
    return actions, problem.placements[actions[:, 0]]


def spread(n: int = 60, seed: int = 0) -> Measurements:
    rng = np.random.default_rng(seed)
    return rows(
        n, rate_bps=10 ** rng.uniform(5, 8, n), edge_load=rng.uniform(0, 0.9, n), rtt_s=rng.uniform(0.01, 0.1, n)
    )


def test_the_predictor_is_the_expectation_over_the_test_set(problem: Problem):
    """Sample by sample, on placements of every kind."""
    p, paths = problem.params, PathPredictor(problem)
    seconds = paths.latency_s(np.array([7e6]), np.array([0.05]), np.array([0.4]))[0]
    never = len(problem.thresholds) - 1
    for index in (0, 3, 9, 15, 20, len(problem.placements) - 1):
        d, e = problem.placements[index]
        for k in (1, 4, never):
            work = int(k == never)
            at = p.exit_position[p.exit_of[k]]  # where each sample leaves
            total = p.device_work_s[work][np.minimum(at, d)]
            total = total + (at > d) * (8 * p.cut_bytes[d] / 7e6 + 0.05)
            total = total + (at > d) * (p.edge_work_s[work][np.minimum(at, e)] - p.edge_work_s[work][d]) / 0.6
            total = total + (at > e) * (8 * p.cut_bytes[e] / p.backhaul_bps + p.backhaul_rtt_s)
            faas = (at > e) * (p.faas_work_s[work][at] - p.faas_work_s[work][e])
            assert seconds[index, k] == pytest.approx((total + faas).mean(), rel=2e-3)
            edge_ms = 1e3 * (at > d) * (p.edge_work_s[work][np.minimum(at, e)] - p.edge_work_s[work][d])
            usd = edge_ms * p.usd_per_edge_ms + ((at > d) & (e > d)) * p.usd_per_edge_request
            usd = usd + 1e3 * faas * p.usd_per_faas_ms + (at > e) * p.usd_per_faas_request
            usd = usd + (at > e) * p.result_bytes * p.usd_per_egress_byte
            assert paths.usd[index, k] == pytest.approx(usd.mean(), rel=2e-3, abs=1e-15)


def test_waiting_counts_what_stands_before(problem: Problem):
    paths = PathPredictor(problem)
    local = problem.placement(problem.stages, problem.stages)
    never = len(problem.thresholds) - 1
    m = rows(2, device_queue=[0.0, 3.0], placement=float(local), threshold=float(never))
    wait = paths.waiting_s(m, np.full(2, 1e7))
    assert (wait[0] == 0).all()
    whole = problem.params.device_work_s[1][-1]
    assert wait[1, local, never] == pytest.approx(2.5 * whole)
    assert wait[1, problem.placement(0, problem.stages), never] == 0.0


candidates = st.integers(1, 6)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 4), candidates, st.integers(0, 2**32 - 1))
def test_lexicographic_is_sorting(n: int, count: int, seed: int):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 5, (3, n, count)).astype(float)
    limits = rng.integers(0, 4, 2)
    found = lexicographic([(values[0], limits[0]), (values[1], limits[1])], values[2])
    for i in range(n):
        keys = [
            (max(values[0, i, c] - limits[0], 0), max(values[1, i, c] - limits[1], 0), values[2, i, c], c)
            for c in range(count)
        ]
        assert found[i] == min(keys)[-1]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_edgents_optimisers_are_exhaustive(cuts: int, exits: int, deadline: float, seed: int):
    rng = np.random.default_rng(seed)
    latency, accuracy = rng.random((3, cuts, exits)), np.sort(rng.random(exits))
    for i, (cut, at) in enumerate(zip(*deepest_exit(latency, deadline), strict=True)):
        meeting = [b for b in range(exits) if latency[i, :, b].min() <= deadline]
        if meeting:
            assert at == max(meeting)
            assert latency[i, cut, at] == latency[i, :, at].min()
        else:
            assert latency[i, cut, at] == latency[i].min()
    for i, (cut, at) in enumerate(zip(*configuration_map(latency, accuracy, deadline), strict=True)):
        worth = {
            (c, b): np.exp(accuracy[b]) + 1 / latency[i, c, b]
            for c in range(cuts)
            for b in range(exits)
            if latency[i, c, b] <= deadline
        }
        if worth:
            assert worth[cut, at] == max(worth.values())
        else:
            assert latency[i, cut, at] == latency[i].min()


def test_edgent_relaxes_the_threshold_as_the_deadline_tightens(problem: Problem):
    m = spread()
    loose, _ = decide("edgent:deadline=1000", problem, m)
    tight, _ = decide("edgent:deadline=0.3", problem, m)
    none, _ = decide("edgent:deadline=0.000001", problem, m)
    assert (loose[:, 1] == len(problem.thresholds) - 1).all()
    assert (tight[:, 1] <= loose[:, 1]).all()
    assert tight[:, 1].min() < loose[:, 1].min()
    seconds = PathPredictor(problem).latency_s(m.rate_bps[:, 0], m.rtt_s, m.edge_load)
    allowed = (problem.placements[:, 1] == problem.stages)[:, None]
    lowest = np.where(allowed, seconds, np.inf).min(axis=(1, 2))
    np.testing.assert_allclose(seconds[np.arange(len(m)), none[:, 0], none[:, 1]], lowest)


def test_the_map_follows_a_change_of_the_bandwidth(problem: Problem):
    policy = load_policy("edgent-dynamic")
    policy.reset(problem, 1, EQUAL, 0)
    rng = np.random.default_rng(0)
    for _ in range(30):
        before = policy.act(rows(1, rate_bps=3e7 * np.exp(0.05 * rng.normal())))
    blip = policy.act(rows(1, rate_bps=2.7e7))
    assert (blip == before).all()
    for _ in range(6):
        after = policy.act(rows(1, rate_bps=5e4 * np.exp(0.05 * rng.normal())))
    assert problem.placements[before[0, 0], 0] < problem.stages
    assert (problem.placements[after[0, 0]] == problem.stages).all()


def test_spinn_meets_its_targets_at_the_lowest_price(problem: Problem):
    m, paths = spread(), PathPredictor(problem)
    actions, _ = decide("spinn:server=any,drop=0.01", problem, m)
    seconds = paths.latency_s(m.rate_bps[:, 0], m.rtt_s, m.edge_load)
    limit = problem.params.latency_ref_s
    met = 0
    for i, (placement, k) in enumerate(actions[:, :2]):
        fine = (seconds[i] <= limit) & (paths.loss <= 0.01)
        if fine.any():
            met += 1
            assert fine[placement, k]
            assert paths.usd[placement, k] == paths.usd[fine].min()
        else:
            assert seconds[i, placement, k] == pytest.approx(max(seconds[i].min(), min(limit, seconds[i].max())), abs=1)
    assert met > 10
    strict, _ = decide("spinn:server=any,drop=0,deadline=1000", problem, m)
    assert (paths.loss[strict[:, 1]] <= 0.0).all()


def test_amps_inf_is_the_cheapest_cut_in_time(problem: Problem):
    m, paths = spread(), PathPredictor(problem)
    never = len(problem.thresholds) - 1
    seconds = paths.latency_s(m.rate_bps[:, 0], m.rtt_s, m.edge_load)[..., never]
    actions, _ = decide("amps-inf", problem, m)
    for i, placement in enumerate(actions[:, 0]):
        fine = seconds[i] <= problem.params.latency_ref_s
        if fine.any():
            assert paths.usd[placement, never] == paths.usd[fine, never].min()
        else:
            assert seconds[i, placement] == seconds[i].min()


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 8), st.floats(4, 8), st.integers(0, 2**32 - 1))
def test_pruning_loses_nothing_if_compute_gets_faster_up_the_tiers(stages: int, magnitude: float, seed: int):
    rng = np.random.default_rng(seed)
    device = rng.uniform(0, 0.1, stages)
    server = device * rng.uniform(0, 1, stages)
    sizes = np.append(10 ** rng.uniform(2, 6, stages), 0.0)
    total = np.append(0, np.cumsum(device)) + 8 * sizes / 10**magnitude + np.append(np.cumsum(server[::-1])[::-1], 0)
    assert total[prefix_minima(sizes)].min() == total.min()


def test_dnnsplit_scans_the_pruned_pairs(problem: Problem):
    m = spread()
    _, cuts = decide("dnnsplit", problem, m)
    sizes = np.append(problem.params.cut_bytes[:-1], 0)
    kept = np.flatnonzero(prefix_minima(sizes))
    assert set(cuts.ravel()) <= set(kept)
    seconds = PathPredictor(problem).latency_s(m.rate_bps[:, 0], m.rtt_s, m.edge_load)[..., -1]
    inside = np.isin(problem.placements, kept).all(axis=1)
    lowest = np.where(inside, seconds, np.inf).argmin(axis=1)
    assert (problem.placements[lowest] == cuts).all()


def test_dads_is_the_minimum_cut_when_light_and_the_lowest_bottleneck_when_heavy(problem: Problem):
    p, stages = problem.params, problem.stages
    tiers = {
        name: np.diff(problem.tiers[name].cumulative_s(p.exit_position, heads=False)) for name in ("device", "edge")
    }
    m = spread(25)
    light, cuts = decide("dads", problem, Measurements(_with(m, arrivals_average=1e-3)))
    heavy, heavy_cuts = decide("dads", problem, Measurements(_with(m, arrivals_average=500.0)))
    paper, _ = decide("neurosurgeon", problem, m)
    assert (light[:, 0] == paper[:, 0]).all()  # equal on chains
    for i in range(len(m)):
        rate = float(m.rate_bps[i, 0])
        slow = tiers["edge"] / (1 - m.edge_load[i])
        graph = LayerGraph.chain(tiers["device"], slow, p.cut_bytes[1:], float(p.cut_bytes[0]))
        chain = [graph.split(np.arange(stages) < cut, rate) for cut in range(stages + 1)]
        assert chain[cuts[i, 0]].latency_s == pytest.approx(lowest_latency_split(graph, rate).latency_s, rel=1e-6)
        bottleneck = chain[heavy_cuts[i, 0]].bottleneck_s
        assert bottleneck == pytest.approx(min(split.bottleneck_s for split in chain), rel=1e-5)
        assert bottleneck <= low_bottleneck_split(graph, rate, points=5).bottleneck_s * (1 + 1e-5)
    assert (heavy[:, 0] != light[:, 0]).any()


def _with(m: Measurements, **values: float) -> np.ndarray:
    changed = m.rows.copy()
    for name, value in values.items():
        changed[:, column(name)] = value
    return changed


def test_chain_bottleneck_by_hand():
    found = chain_bottleneck_s(
        np.array([0.0, 0.1, 0.3]),
        np.array([0.06, 0.04, 0.0]),
        np.array([1e5, 2e4, 0.0]),
        np.array([8e6]),
        np.array([0.5]),
    )
    np.testing.assert_allclose(found, [[0.12, 0.1, 0.3]])


def test_loadpart_sees_the_queue(problem: Problem):
    edge = problem.placement(0, problem.stages)
    idle, busy = (rows(1, rate_bps=4e7, placement=float(edge), edge_queue=q) for q in (0.0, 60.0))
    assert decide("loadpart", problem, idle)[1][0, 0] < problem.stages
    assert decide("loadpart", problem, busy)[1][0, 0] == problem.stages
    free, _ = decide("loadpart", problem, spread())
    assert (free == decide("neurosurgeon", problem, spread())[0]).all()


def test_splitllm_keeps_what_the_limit_allows(problem: Problem):
    m = spread(30)
    flops = np.append(0, np.cumsum([stage.flops for stage in problem.profile.stages]))
    never = len(problem.thresholds) - 1
    seconds = PathPredictor(problem).latency_s(m.rate_bps[:, 0], m.rtt_s, m.edge_load)[..., never]
    limit = problem.params.latency_ref_s
    kept = {}
    for name in ("splitllm", "splitllm-greedy", "splitllm-no-split"):
        actions, cuts = decide(name, problem, m)
        kept[name] = flops[cuts[:, 0]]
        for i, placement in enumerate(actions[:, 0]):
            fastest = seconds[i].argmin()
            assert placement == fastest or seconds[i, placement] <= limit * (1 + 1e-9)
    for i in range(len(m)):  # up to the resolution of time: a few ticks below the limit at most
        surely = flops[problem.placements[seconds[i] <= limit - 0.06, 0]]
        assert kept["splitllm"][i] >= surely.max(initial=0.0)
    feasible = seconds.min(axis=1) < limit - 0.06
    assert (kept["splitllm"] >= kept["splitllm-greedy"])[feasible].all()
    assert (kept["splitllm"] >= kept["splitllm-no-split"])[feasible].all()
    assert (kept["splitllm"] > kept["splitllm-no-split"])[feasible].any()
    _ample, cuts = decide("splitllm:deadline=100", problem, m)
    assert (cuts == problem.stages).all()


def test_libra_rents_above_the_indifference_point(problem: Problem):
    quiet, _ = decide("libra", problem, rows(1, arrivals=0.05))
    busy, cuts = decide("libra", problem, rows(1, arrivals=12.0))
    assert (quiet[0, 2], quiet[0, 3]) == (ROUTES.index("faas"), 0)
    assert (busy[0, 2], busy[0, 3] > 0) == (ROUTES.index("spill"), True)
    assert (cuts == 0).all()
    p = problem.params
    faas_s = p.faas_work_s[1][-1] + 0.0005
    point = p.usd_per_vm_s / (1000 * p.usd_per_faas_ms * faas_s + p.usd_per_faas_request)
    for factor, vms in ((0.97, 0), (1.03, 1)):
        assert decide("libra", problem, rows(1, arrivals=point * factor))[0][0, 3] == vms


def test_libra_keeps_a_pool_for_its_patience(problem: Problem):
    policy = load_policy("libra:window_s=1,patience_s=5")
    policy.reset(problem, 1, EQUAL, 0)
    assert policy.act(rows(1, arrivals=12.0))[0, 3] > 0
    sizes = [int(policy.act(rows(1, arrivals=0.0))[0, 3]) for _ in range(20)]
    assert sizes[3] > 0
    assert sizes[-1] == 0


def test_serflow_needs_fewer_vms_than_libra(problem: Problem):
    paths = PathPredictor(problem)
    sizes = {}
    for name in ("libra", "serflow"):
        actions, _ = decide(name, problem, rows(40, arrivals=np.linspace(0.1, 30, 40)))
        sizes[name] = actions[:, 3]
        assert paths.loss[actions[0, 1]] <= 0.01
    assert (sizes["serflow"] <= sizes["libra"]).all()
    assert (sizes["serflow"] < sizes["libra"]).any()


def test_routing_by_confidence_is_calibrated(problem: Problem):
    paths, first = PathPredictor(problem), int(problem.params.exit_position[0])
    actions, cuts = decide("hybrid-llm:drop=0.01", problem, rows(1))
    assert tuple(cuts[0]) == (first, problem.stages)
    placement, k = actions[0, :2]
    fine = paths.loss <= 0.01
    assert fine[k]
    assert 1 - paths.reach[placement, k] == pytest.approx((1 - paths.reach[placement])[fine].max())
    assert decide("hybrid-llm:server=faas", problem, rows(1))[1][0].tolist() == [first, first]
    with pytest.raises(InputError, match="exit head"):
        decide("hybrid-llm:small=9", problem, rows(1))


@pytest.mark.parametrize(
    ("spec", "fragment"),
    [
        ("edgent:server=cloud", "must be a server"),
        ("spinn:deadline=0", "positive multiple"),
        ("splitllm:method=gredy", "did you mean 'greedy'"),
        ("splitllm:tick_s=0", "must be positive"),
        ("amps-inf:rate=lst", "did you mean 'last'"),
        ("loadpart:rate=lst", "did you mean 'last'"),
        ("libra:utilisation=0", "must be positive"),
        ("mpc:rate=harmonc", "did you mean 'harmonic'"),
        ("mpc:samples=0", "at least 1"),
    ],
)
def test_refusals(spec: str, fragment: str):
    with pytest.raises(InputError, match=fragment):
        load_policy(spec)
