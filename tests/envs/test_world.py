"""What must hold for every scenario: conservation, common random numbers, no look into the future, replays."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecloud.envs import RECORD_FIELDS, TERMS, EdgeCloudEnv, EdgeCloudVecEnv, Measurements, Simulator, Window
from edgecloud.errors import InputError
from edgecloud.traces import LinkTrace

from .support import TRAIN, compile_problem, random_actions, run, with_params

BASE = with_params(compile_problem("camera-lte"), arrival_rps=[3.0, 8.0, 15.0])
TERM = {name: index for index, name in enumerate(TERMS)}
FAST = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def problems(draw):
    """Scenarios far from the shipped ones: tiny and huge speeds, loads, deadlines, noise, prices."""
    scale = st.sampled_from([0.01, 0.3, 1.0, 5.0, 40.0])
    p = BASE.params
    return with_params(
        BASE,
        arrival_rps=draw(st.lists(st.floats(0, 60), min_size=3, max_size=3)),
        arrival_counts=draw(st.one_of(st.just([]), st.lists(st.integers(0, 60), min_size=1, max_size=5))),
        timeout_s=draw(st.floats(0.05, 8.0)),
        interval_s=draw(st.sampled_from([0.25, 1.0, 2.0])),
        episode_intervals=draw(st.integers(1, 60)),
        device_work_s=p.device_work_s * draw(scale),
        edge_work_s=p.edge_work_s * draw(scale),
        vm_work_s=p.vm_work_s * draw(scale),
        faas_work_s=p.faas_work_s * draw(scale),
        cut_bytes=(p.cut_bytes * draw(scale)).astype(np.int64),
        vm_boot_s=p.vm_boot_s * draw(scale),
        vm_initial=draw(st.integers(0, 3)),
        keep_alive_s=draw(st.floats(0, 20)),
        spill_wait_s=draw(st.floats(0, 1)),
        repartition_s=draw(st.floats(0, 3)),
        battery_j=draw(st.sampled_from([0.0, 20.0, 500.0])),
        regime_keep=draw(st.floats(0, 0.99)),
        rtt_s=draw(st.floats(0, 0.5)),
        backhaul_rtt_s=draw(st.floats(0, 0.5)),
    )


@FAST
@given(problem=problems(), seed=st.integers(0, 2**64 - 1), hold=st.integers(1, 9))
def test_requests_are_conserved_and_terms_are_sane(problem, seed, hold):
    simulator = Simulator(problem, TRAIN, 3)
    simulator.reset(seed)
    terms, rows = run(simulator, random_actions(problem, 40, 3, seed % 1000, hold))
    arrived, finished, expired = (terms[:, :, TERM[k]].cumsum(axis=0) for k in ("arrived", "finished", "expired"))
    inside = terms[:, :, TERM["in_flight"]]
    assert (arrived == finished + expired + inside).all()
    measured = Measurements(rows.reshape(-1, rows.shape[-1]))
    queues = measured.device_queue + measured.uplink_queue + measured.edge_queue + measured.cloud_queue
    assert (queues == inside.ravel()).all()
    assert np.isfinite(terms).all()
    assert np.isfinite(rows).all()
    names = [n for n in TERMS if not n.startswith("reward") and n != "accuracy_loss"]
    assert (terms[:, :, [TERM[n] for n in names]] >= 0).all()
    assert (terms[:, :, TERM["failed"]] <= terms[:, :, TERM["arrived"]]).all()
    assert (terms[:, :, TERM["cold_starts"]] <= terms[:, :, TERM["faas_requests"]]).all()
    counters = ["vm_s", "faas_ms", "faas_requests", "edge_ms", "edge_requests", "egress_bytes", "transit_bytes"]
    whole = terms[:, :, [TERM[n] for n in counters]]
    assert (whole == np.rint(whole)).all()
    latest = problem.params.timeout_s * terms[:, :, TERM["arrived"]]
    assert (terms[:, :, TERM["latency_s"]] <= latest * (1 + 1e-12)).all()
    assert (measured.busy_instances + measured.warm_instances <= problem.scenario.faas.max_instances).all()
    assert (measured.vm_running + measured.vm_booting == measured.vm_target).all()
    observed = problem.encoder(measured.rows)
    assert observed.dtype == np.float32
    assert (np.abs(observed) <= 1).all()


@FAST
@given(problem=problems(), seed=st.integers(0, 2**32))
def test_drained_requests_all_end(problem, seed):
    """After the last arrival everything ends within the timeout."""
    problem = with_params(problem, arrival_counts=[30] + [0] * 60, battery_j=0.0)
    simulator = Simulator(problem, TRAIN, 2)
    simulator.reset(seed)
    actions = random_actions(problem, 200, 2, 1, 3)
    terms, _ = run(simulator, actions)
    last = terms[:, :, TERM["arrived"]].astype(bool)
    silence = int(np.ceil(problem.params.timeout_s / problem.params.interval_s)) + 1
    for i in range(2):
        for t in np.flatnonzero(last[:, i]):
            if t + silence < len(terms) and not last[t + 1 : t + silence + 1, i].any():
                assert terms[t + silence, i, TERM["in_flight"]] == 0


# -- one kernel: batches, seeds, policies


def test_a_batch_of_one_is_the_single_environment_bit_for_bit():
    single, batch = EdgeCloudEnv(BASE, TRAIN), EdgeCloudVecEnv(1, BASE, TRAIN)
    assert (single.reset(seed=3)[0] == batch.reset(seed=3)[0][0]).all()
    for action in random_actions(BASE, 320, 1)[:, 0]:
        one = single.step(action)
        many = batch.step(action[None])
        assert one[1] == many[1][0]
        assert one[3] == many[3][0]
        final = many[4]["final_obs"][0] if many[3][0] else many[0][0]
        assert (one[0] == final).all()
        assert {k: v[0] for k, v in many[4].items() if k in TERMS} == one[4]
        if one[3]:
            assert (single.reset()[0] == many[0][0]).all()


@pytest.mark.parametrize("n", [2, 5, 17])
def test_an_environment_does_not_depend_on_the_size_of_its_batch(n):
    actions = random_actions(BASE, 40, 32)
    reference = Simulator(BASE, TRAIN, 32)
    start = reference.reset(9).rows.copy()
    terms, rows = run(reference, actions)
    part = Simulator(BASE, TRAIN, n)
    assert (part.reset(9).rows == start[:n]).all()
    got = run(part, actions[:, :n])
    assert (got[0] == terms[:, :n]).all()
    assert (got[1] == rows[:, :n]).all()


def test_the_same_world_whatever_the_policy():
    problem = BASE
    seen = []
    for seed in range(4):
        simulator = Simulator(problem, TRAIN, 6, records=True)
        simulator.reset(1234)
        world = [simulator.state.weights.copy(), simulator.state.trace.copy(), simulator.state.offset.copy()]
        for action in random_actions(problem, 60, 6, seed):
            m = simulator.step(action)
            n = simulator.terms[:, 0].astype(int)
            world += [n, m.rate_bps.copy(), m.edge_load.copy(), m.rtt_s.copy(), simulator.state.regime.copy()]
            world += [simulator.records[i, : n[i], :2].copy() for i in range(6)]
        seen.append(world)
    for other in seen[1:]:
        for a, b in zip(seen[0], other, strict=True):
            assert (a == b).all()


def test_seeds_environments_and_episodes_differ():
    simulator = Simulator(BASE, TRAIN, 8)
    keys = []
    for seed in (0, 1, 2**63, None, None):
        simulator.reset(seed)
        keys += simulator.state.key.tolist()
    assert len(set(keys)) == len(keys)


def test_episodes_go_on_where_the_last_one_ended():
    one, two = Simulator(BASE, TRAIN, 2), Simulator(BASE, TRAIN, 2)
    one.reset(5)
    one.reset()
    two.reset(5)
    run(two, random_actions(BASE, 7, 2))
    assert (one.reset().rows == [two.reset(), two.reset()][-1].rows).all()


# -- the future


def changed_after(trace, bin_, factor=0.13):
    rate, rtt = trace.rate_bps.copy(), trace.rtt_s
    rate[bin_:] = rate[bin_:] * factor + 1e4
    if rtt is not None:
        rtt = rtt.copy()
        rtt[bin_:] = rtt[bin_:] * 3 + 0.01
    return LinkTrace(trace.name, trace.mode, trace.edges_s, rate, rtt, trace.source, trace.direction)


@pytest.mark.parametrize("battery_j", [0.0, 400.0])
@pytest.mark.parametrize("instances", [32, 3])
@pytest.mark.parametrize("hold", [1, 5])
def test_nothing_measured_depends_on_the_future_of_the_link(battery_j, instances, hold):
    scenario = BASE.scenario.model_copy(
        update={"faas": BASE.scenario.faas.model_copy(update={"max_instances": instances})}
    )
    problem = with_params(
        compile_problem(scenario),
        battery_j=battery_j,
        timeout_s=4.0,
        device_work_s=BASE.params.device_work_s * 0.2,
        arrival_rps=[10.0, 15.0, 20.0],
    )
    offset, now, n = 20, 25, 12
    windows = [Window(0, offset)] * n
    actions = random_actions(problem, now, n, 8, hold)
    # Three seconds of history, so that the changed bins are only met by wrapping around.
    original = Simulator(problem, TRAIN[:1], n, windows=windows)
    start = original.reset(2).rows.copy()
    _, rows = run(original, actions)
    futures = [changed_after(TRAIN[0], offset + now, factor) for factor in (0.0, 0.13, 30.0)]
    spent = set()
    for trace in futures:
        other = Simulator(problem, [trace], n, windows=windows)
        assert (other.reset(2).rows == start).all()
        terms, got = run(other, actions)
        assert (got == rows).all()
        spent.add(float(terms[:, :, TERM["latency_s"]].sum()))
    assert len(spent) == 3  # the future itself did change


def test_nothing_measured_depends_on_coming_arrivals():
    counts = np.random.default_rng(0).integers(0, 30, 50)
    probe = Simulator(with_params(BASE, arrival_counts=counts), TRAIN, 1)
    probe.reset(0)
    future = (int(probe.state.arrival_offset[0]) + np.arange(25, 40)) % 50
    rows = []
    for coming in (0, 40):
        changed = counts.copy()
        changed[future] = coming
        problem = with_params(BASE, arrival_counts=changed)
        simulator = Simulator(problem, TRAIN, 1)
        simulator.reset(0)
        rows.append(run(simulator, random_actions(problem, 26, 1))[1])
    assert (rows[0][:25] == rows[1][:25]).all()
    assert (rows[0][25] != rows[1][25]).any()


# -- states, copies, pickles


def test_states_replay_bit_for_bit():
    simulator = Simulator(BASE, TRAIN, 4)
    simulator.reset(0)
    actions = random_actions(BASE, 60, 4)
    run(simulator, actions[:30])
    state = simulator.get_state()
    first = run(simulator, actions[30:])
    simulator.set_state(state)
    second = run(simulator, actions[30:])
    other = Simulator(BASE, TRAIN, 4)
    other.set_state(pickle.loads(pickle.dumps(state)))
    third = run(other, actions[30:])
    for again in (second, third):
        assert (first[0] == again[0]).all()
        assert (first[1] == again[1]).all()


def test_a_state_of_another_batch_is_refused():
    with pytest.raises(InputError, match="must have shape"):
        Simulator(BASE, TRAIN, 2).set_state(Simulator(BASE, TRAIN, 3).get_state())


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize("make", [lambda: EdgeCloudEnv(BASE, TRAIN[:3]), lambda: EdgeCloudVecEnv(3, BASE, TRAIN[:3])])
def test_environments_can_be_copied_while_they_run(duplicate, make):
    env = make()
    env.reset(seed=1)
    n = getattr(env, "num_envs", 1)
    actions = random_actions(BASE, 20, n)
    actions = actions if n > 1 else actions[:, 0]
    for action in actions[:10]:
        env.step(action)
    twin = duplicate(env)
    for action in actions[10:]:
        a, b = env.step(action), twin.step(action)
        assert (a[0] == b[0]).all()
        assert (np.asarray(a[1]) == np.asarray(b[1])).all()


def test_records_agree_with_the_sums():
    simulator = Simulator(BASE, TRAIN, 3, records=True)
    simulator.reset(4)
    for action in random_actions(BASE, 50, 3):
        simulator.step(action)
        for i in range(3):
            rows = simulator.records[i, : int(simulator.terms[i, 0])]
            field = {name: rows[:, k] for k, name in enumerate(RECORD_FIELDS)}
            assert field["latency_s"].sum() == pytest.approx(simulator.terms[i, TERM["latency_s"]])
            assert field["failed"].sum() == simulator.terms[i, TERM["failed"]]
            assert field["cold"].sum() == simulator.terms[i, TERM["cold_starts"]]
            assert field["faas"].sum() == simulator.terms[i, TERM["faas_requests"]]
            assert field["leakage"].sum() == pytest.approx(simulator.terms[i, TERM["leakage"]])
            assert (np.diff(field["arrival_s"]) >= 0).all()
            order = np.stack([field[k] for k in ("arrival_s", "device_end_s", "uplink_end_s", "edge_end_s", "end_s")])
            assert (np.diff(order, axis=0) >= 0).all()
