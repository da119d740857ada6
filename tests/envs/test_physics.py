"""Physics against closed forms: the survey's worked example, exact transfers, queueing theory."""

import dataclasses

import numpy as np
import pytest

from edgecloud.envs import RECORD_FIELDS, TERMS, Simulator, Window, physics
from edgecloud.profiles import Exit, Profile, Reference, Stage
from edgecloud.traces import LinkTrace, transfer_end_s

from .support import TRAIN, compile_problem, constant_link, with_params

ENDLESS = constant_link(1e15)


def column(name):
    return RECORD_FIELDS.index(name)


def one_stage_problem(**fields):
    """One stage, one exit, no latency but service; every request is treated alike."""
    rng = np.random.default_rng(0)
    profile = Profile(
        name="one-stage",
        description="a single server",
        stages=(Stage(name="all", flops=1e6, output_bytes=10, weight_bytes=0, memory_bytes=0, latency_s=1e-3),),
        input_bytes=1000,
        result_bytes=10,
        exits=(Exit(name="final", after_stage=1, flops=0.0, latency_s=0.0),),
        confidence=rng.random((100, 1), dtype=np.float32),
        correct=np.ones((100, 1), dtype=bool),
        leakage=np.array([1.0, 0.0]),
        reference=Reference(machine="test", effective_flops=1e9),
    )
    quiet = {
        "timeout_s": 60.0,
        "episode_intervals": 100_000,
        "cut_bytes": [0, 0],
        "rtt_s": 0.0,
        "backhaul_rtt_s": 0.0,
        "battery_j": 0.0,
        "edge_load": np.zeros(3),
        **{f"{tier}_noise": np.ones(2048) for tier in ("device", "edge", "vm", "faas")},
    }
    problem = compile_problem("camera-lte", profile=profile)
    return with_params(problem, **{**quiet, **fields})


def mean_latency_s(problem, action, intervals=500, num_envs=200, skip=60):
    simulator = Simulator(problem, [ENDLESS], num_envs)
    simulator.reset(11)
    actions = np.tile(action, (num_envs, 1))
    arrived = latency = failed = 0.0
    for t in range(intervals):
        simulator.step(actions)
        if t >= skip:
            arrived += simulator.terms[:, TERMS.index("arrived")].sum()
            latency += simulator.terms[:, TERMS.index("latency_s")].sum()
            failed += simulator.terms[:, TERMS.index("failed")].sum()
    assert failed == 0
    return latency / arrived, arrived / ((intervals - skip) * num_envs)


def work(seconds):
    return [[0.0, seconds], [0.0, seconds]]


# -- closed forms


def test_worked_example_of_the_partitioning_survey():
    device_s = physics.service_s(120e6, 50e9)
    edge_s = physics.service_s(180e6, 500e9)
    link_s = physics.transfer_s(2.5e6, 20e6)
    queue_s = physics.mm1_sojourn_s(5.0, 10.0)
    assert (device_s, edge_s, link_s, queue_s) == pytest.approx((2.4e-3, 0.36e-3, 1.0, 0.2), rel=1e-12)
    # The example prints 1.2028 s: device, edge, link and queue to four decimals.
    assert round(float(device_s + edge_s + link_s + queue_s), 4) == 1.2028
    joules = physics.energy_j(2.0, 2.4e-3) + physics.energy_j(1.5, link_s)
    assert float(joules) == pytest.approx(1.5048, rel=1e-12)


def test_waiting_alone_is_half_of_that_sojourn():
    assert physics.mmc_wait_s(5.0, 10.0, 1) == pytest.approx(0.1, rel=1e-12)
    assert float(physics.mm1_sojourn_s(5.0, 10.0)) - 0.1 == pytest.approx(0.1, rel=1e-12)


def test_erlang_c_with_two_servers_by_hand():
    # offered load 1 with two servers: C = 1/3, wait = C / (2 mu - lambda) = 1/3 for mu = lambda = 1
    assert physics.mmc_wait_s(1.0, 1.0, 2) == pytest.approx(1 / 3, rel=1e-12)


@pytest.mark.parametrize("table", [physics.exponential_factors(), physics.lognormal_factors(0.5)])
def test_noise_tables_have_mean_one_and_rise(table):
    assert table.mean() == pytest.approx(1.0, abs=1e-12)
    assert (np.diff(table) > 0).all()


def test_noise_tables_have_the_right_variance():
    assert physics.exponential_factors().var() == pytest.approx(1.0, rel=2e-3)
    assert physics.lognormal_factors(0.5).var() == pytest.approx(np.exp(0.25) - 1, rel=5e-3)


# -- queues of the kernel


@pytest.mark.slow
@pytest.mark.parametrize("load", [0.5, 0.7])
def test_device_is_an_mm1_queue(load):
    problem = one_stage_problem(
        arrival_rps=[10 * load] * 3, device_work_s=work(0.1), device_noise=physics.exponential_factors()
    )
    measured, rate = mean_latency_s(problem, problem.action(1, 1, 0, "faas", 0))
    assert rate == pytest.approx(10 * load, rel=0.01)
    assert measured - 0.1 == pytest.approx(physics.mm1_sojourn_s(10 * load, 10.0) - 0.1, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("load", [0.4, 0.8])
def test_device_without_noise_is_an_md1_queue(load):
    problem = one_stage_problem(arrival_rps=[10 * load] * 3, device_work_s=work(0.1))
    measured, _ = mean_latency_s(problem, problem.action(1, 1, 0, "faas", 0))
    assert measured - 0.1 == pytest.approx(float(physics.md1_wait_s(10 * load, 0.1)), rel=0.02)


@pytest.mark.slow
def test_background_load_slows_the_edge():
    problem = one_stage_problem(
        arrival_rps=[6.0] * 3,
        edge_work_s=work(0.05),
        edge_load=[0.5, 0.5, 0.5],
        edge_noise=physics.exponential_factors(),
    )
    measured, _ = mean_latency_s(problem, problem.action(0, 1, 0, "faas", 0))
    assert measured - 0.1 == pytest.approx(physics.mmc_wait_s(6.0, 10.0, 1), rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("servers", "load"), [(2, 0.75), (3, 0.8)])
def test_vm_pool_is_an_mmc_queue(servers, load):
    problem = one_stage_problem(
        arrival_rps=[10 * load * servers] * 3,
        vm_work_s=work(0.1),
        vm_noise=physics.exponential_factors(),
        vm_initial=servers,
    )
    measured, _ = mean_latency_s(problem, problem.action(0, 0, 0, "vm", servers))
    assert measured - 0.1 == pytest.approx(physics.mmc_wait_s(10 * load * servers, 10.0, servers), rel=0.02)


# -- transfers


def test_transfers_over_a_varying_trace_are_exact():
    rng = np.random.default_rng(4)
    rates = rng.uniform(0, 4e6, 200) * (rng.random(200) > 0.2)  # with outages
    trace = LinkTrace("varying", "static", np.arange(201.0), rates)
    problem = one_stage_problem(cut_bytes=[15_000, 0], arrival_rps=[3.0] * 3)
    scale = problem.scenario.uplink.rate_scale
    simulator = Simulator(problem, [trace], 1, windows=[Window(0)], records=True)
    simulator.reset(0)
    action = problem.action(0, 1, 0, "faas", 0)[None]
    free, seen = 0.0, 0
    for _ in range(120):
        simulator.step(action)
        for row in simulator.records[0, : int(simulator.terms[0, 0])]:
            start = max(row[column("arrival_s")], free)
            free = transfer_end_s(trace.scaled(scale), start, 15_000)
            assert row[column("uplink_end_s")] == pytest.approx(free, rel=1e-12)
            seen += 1
    assert seen > 300


def test_half_a_round_trip_each_way():
    trace = LinkTrace("rtt", "static", np.arange(51.0), np.full(50, 1e15), np.full(50, 0.08))
    problem = one_stage_problem(edge_work_s=work(0.01), arrival_counts=[1])
    simulator = Simulator(problem, [trace], 1)
    simulator.reset(0)
    simulator.step(problem.action(0, 1, 0, "faas", 0)[None])
    assert simulator.terms[0, TERMS.index("latency_s")] == pytest.approx(0.08 + 0.01, rel=1e-9)


def test_cloud_path_adds_the_backhaul():
    problem = one_stage_problem(
        vm_work_s=work(0.01), arrival_counts=[1], vm_initial=1, cut_bytes=[1000, 0], rtt_s=0.05, backhaul_rtt_s=0.02
    )
    problem = with_params(problem, backhaul_bps=1e6)
    simulator = Simulator(problem, [ENDLESS], 1)
    simulator.reset(0)
    simulator.step(problem.action(0, 0, 0, "vm", 1)[None])
    assert simulator.terms[0, TERMS.index("latency_s")] == pytest.approx(0.05 + 0.02 + 8e-3 + 0.01, rel=1e-9)


# -- what is drawn


def test_regimes_drift_but_the_samples_are_the_whole_test_set():
    problem = compile_problem("camera-lte")
    problem = with_params(problem, arrival_rps=[40.0] * 3, regime_keep=0.8)
    simulator = Simulator(problem, TRAIN, 64, records=True)
    simulator.reset(5)
    actions = np.tile(problem.start_action, (64, 1))
    rank = np.empty(len(problem.params.difficulty_order), dtype=np.int64)
    rank[problem.params.difficulty_order] = np.arange(len(rank))
    samples, share = [], []
    for _ in range(300):
        simulator.step(actions)
        for i in range(64):
            mine = simulator.records[i, : int(simulator.terms[i, 0]), column("sample")].astype(int)
            samples.append(mine)
            if len(mine):
                share.append((rank[mine] < len(rank) / 2).mean())
    drawn = np.concatenate(samples)
    counts = np.histogram(rank[drawn], bins=50, range=(0, len(rank)))[0] / len(drawn) * 50
    assert counts == pytest.approx(np.ones(50), abs=0.04)
    assert problem.profile.correct[drawn, -1].mean() == pytest.approx(problem.profile.correct[:, -1].mean(), abs=0.005)
    assert np.std(share) > 0.2  # yet an interval is easy or hard


def test_exits_are_the_first_head_that_is_confident_enough():
    problem = compile_problem("camera-lte")
    simulator = Simulator(problem, TRAIN, 4, records=True)
    simulator.reset(0)
    for k, threshold in enumerate(problem.thresholds):
        action = problem.start_action.copy()
        action[1] = k
        for _ in range(5):
            simulator.step(np.tile(action, (4, 1)))
            for i in range(4):
                rows = simulator.records[i, : int(simulator.terms[i, 0])]
                samples = rows[:, column("sample")].astype(int)
                assert (rows[:, column("exit")] == problem.profile.exit_index(threshold)[samples]).all()
                confidence = problem.profile.confidence[samples]
                taken = rows[:, column("exit")].astype(int)
                for row, head in zip(confidence, taken, strict=True):
                    assert (row[:head] < np.float32(threshold)).all()
                    assert head == confidence.shape[1] - 1 or row[head] >= np.float32(threshold)


def test_arrivals_are_poisson():
    problem = one_stage_problem(arrival_rps=[7.0] * 3)
    simulator = Simulator(problem, [ENDLESS], 500, records=True)
    simulator.reset(1)
    counts, places = [], []
    for _ in range(20):
        simulator.step(np.tile(problem.start_action, (500, 1)))
        counts.append(simulator.terms[:, 0].copy())
        places += [simulator.records[i, : int(simulator.terms[i, 0]), 0] % 1.0 for i in range(500)]
    counts, places = np.concatenate(counts), np.concatenate(places)
    assert counts.mean() == pytest.approx(7.0, rel=0.02)
    assert counts.var() == pytest.approx(7.0, rel=0.05)
    assert np.histogram(places, bins=10, range=(0, 1))[0] / len(places) == pytest.approx(np.full(10, 0.1), abs=0.005)


def test_recorded_instants_are_those_at_which_requests_arrive():
    """Counts [2, 0, 3] with instants and samples, read in a circle; the rest of the world stays as it was drawn."""
    shares = np.array([0.25, 0.5, 0.0, 0.125, 0.875])
    problem = one_stage_problem(
        edge_work_s=work(0.01), arrival_counts=[2, 0, 3], arrival_first=[0, 2, 2], arrival_share=shares
    )
    ranks = np.array([7, 3, 3, 0, len(problem.params.difficulty_order) - 1])
    problem = dataclasses.replace(problem, params=problem.params._replace(arrival_rank=ranks))
    sample = problem.params.difficulty_order[ranks].tolist()
    simulator = Simulator(problem, [constant_link(1e7)], 1, records=True)
    simulator.reset(0)
    simulator.state.arrival_offset[:] = 1
    seen, samples = [], []
    for t in range(6):
        simulator.step(problem.start_action[None])
        count = int(simulator.terms[0, TERMS.index("arrived")])
        seen.append((simulator.records[0, :count, column("arrival_s")] - t).tolist())
        samples.append(simulator.records[0, :count, column("sample")].tolist())
    assert seen == [[], [0.0, 0.125, 0.875], [0.25, 0.5], [], [0.0, 0.125, 0.875], [0.25, 0.5]]
    assert samples == [[], sample[2:], sample[:2], [], sample[2:], sample[:2]]
