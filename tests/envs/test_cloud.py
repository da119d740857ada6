"""Billing, cold starts, boots, spilling, time-outs, pauses, battery, leakage: by hand calculation."""

import math
from decimal import Decimal

import numpy as np
import pytest

from edgecloud.envs import RECORD_FIELDS, TERMS, Simulator
from edgecloud.pricing import FaasMeter, VmMeter, load_prices

from .support import compile_problem, constant_link, with_params
from .test_physics import ENDLESS, one_stage_problem, work


def column(name):
    return RECORD_FIELDS.index(name)


class World:
    """One environment, stepped by the words of an action."""

    def __init__(self, problem, link=ENDLESS, **start):
        self.problem = problem
        self.simulator = Simulator(problem, [link], 1, records=True)
        self.simulator.reset(start.get("seed", 0))

    def step(self, cut_device, cut_edge, route="faas", vms=0, threshold=None):
        last = len(self.problem.thresholds) - 1
        action = self.problem.action(cut_device, cut_edge, last if threshold is None else threshold, route, vms)
        self.measured = self.simulator.step(action[None])
        self.terms = dict(zip(TERMS, self.simulator.terms[0].tolist(), strict=True))
        self.records = self.simulator.records[0, : int(self.terms["arrived"])].copy()
        return self.terms

    def one(self, field):
        return float(getattr(self.measured, field)[0])


def vm_problem(**fields):
    base = {"vm_boot_s": np.full(2048, 2.5), "arrival_counts": [0], "vm_work_s": work(0.01)}
    return one_stage_problem(**{**base, **fields})


def faas_problem(**fields):
    base = {
        "faas_setup_s": np.full(2048, 0.25),
        "faas_init_s": np.full(2048, 0.1),
        "faas_work_s": work(0.1234),
        "arrival_counts": [1],
        "keep_alive_s": 5.0,
    }
    return one_stage_problem(**{**base, **fields})


# -- virtual machines


def test_vm_minimum_falls_due_when_it_stops():
    world = World(vm_problem())
    billed = [world.step(1, 1, vms=1)["vm_s"] for _ in range(10)]
    assert billed == [1.0] * 10
    assert world.step(1, 1, vms=0)["vm_s"] == 50.0
    assert world.step(1, 1, vms=0)["vm_s"] == 0.0
    assert world.terms["usd"] == 0.0


def test_vm_beyond_its_minimum_is_billed_by_the_second_to_the_last_digit():
    world = World(vm_problem())
    billed = sum(world.step(1, 1, vms=1)["vm_s"] for _ in range(100)) + world.step(1, 1, vms=0)["vm_s"]
    assert billed == 100
    price = load_prices().vm("c6i.large")
    meter = VmMeter(price)
    meter.add_billed_s(int(billed))
    assert meter.usd == (Decimal("0.085") * 100 / 3600).quantize(Decimal("1e-18"))
    assert world.problem.params.usd_per_vm_s * 100 == pytest.approx(float(meter.usd), rel=1e-15)


def test_the_minimum_is_settled_at_the_end_of_an_episode():
    world = World(vm_problem(episode_intervals=20))
    billed = [world.step(1, 1, vms=2 if t >= 15 else 0)["vm_s"] for t in range(20)]
    assert billed == [0.0] * 15 + [2.0] * 4 + [112.0]  # two VMs: five seconds each, then the rest of 60


def test_initial_vms_are_past_their_minimum():
    world = World(vm_problem(vm_initial=2))
    assert world.step(1, 1, vms=0)["vm_s"] == 0.0
    assert World(vm_problem(vm_initial=2)).step(1, 1, vms=2)["vm_s"] == 2.0


def test_boot_takes_its_time():
    world = World(vm_problem())
    seen = []
    for _ in range(4):
        world.step(1, 1, vms=2)
        seen.append((world.one("vm_running"), world.one("vm_booting")))
    assert seen == [(0, 2), (0, 2), (2, 0), (2, 0)]  # ready after 2.5 s


def test_requests_wait_for_a_booting_vm_or_time_out():
    world = World(vm_problem(arrival_counts=[1]))
    world.step(0, 0, "vm", 1)
    arrival, end = world.records[0, column("arrival_s")], world.records[0, column("end_s")]
    assert end == pytest.approx(2.51)
    assert arrival < 1
    short = World(vm_problem(arrival_counts=[1], timeout_s=0.5))
    assert short.step(0, 0, "vm", 1)["failed"] == 1
    assert short.terms["latency_s"] == 0.5


def test_an_empty_pool_answers_nobody():
    world = World(vm_problem(arrival_counts=[3], timeout_s=2.0))
    assert world.step(0, 0, "vm", 0)["failed"] == 3
    assert world.terms["latency_s"] == pytest.approx(6.0)
    assert world.terms["egress_bytes"] == 0


def test_draining_ends_with_the_last_request_and_can_be_taken_back():
    problem = vm_problem(arrival_counts=[1], vm_work_s=work(4.6), vm_boot_s=np.full(2048, 0.5), vm_minimum_s=1)
    world = World(problem)
    world.step(0, 0, "vm", 1)
    end = world.records[0, column("end_s")]
    assert end == pytest.approx(max(world.records[0, column("arrival_s")], 0.5) + 4.6)
    billed = [world.step(1, 1, "vm", 0)["vm_s"] for _ in range(8)]
    assert 1 + sum(billed) == math.ceil(end)
    world = World(problem)
    world.step(0, 0, "vm", 1)
    world.step(1, 1, "vm", 0)
    assert world.one("vm_running") == 0
    world.step(1, 1, "vm", 1)
    assert (world.one("vm_running"), world.one("vm_booting")) == (1, 0)  # kept, not launched anew


def test_booting_vms_are_given_up_first():
    world = World(vm_problem(vm_initial=1))
    world.step(1, 1, vms=2)
    world.step(1, 1, vms=1)
    assert (world.one("vm_running"), world.one("vm_booting")) == (1, 0)


def test_spilling_takes_a_vm_that_is_free_soon_and_else_a_function():
    problem = vm_problem(
        arrival_counts=[5], vm_initial=1, vm_work_s=work(0.2), faas_work_s=work(0.01), spill_wait_s=0.05
    )
    problem = with_params(problem, faas_setup_s=np.full(2048, 0.1), faas_init_s=np.full(2048, 0.1))
    world = World(problem)
    free = 0.0
    functions = 0
    for _ in range(10):
        world.step(0, 0, "spill", 1)
        for row in world.records:
            ready = row[column("arrival_s")]
            if free > ready + 0.05:
                assert row[column("faas")] == 1
                functions += 1
            else:
                assert row[column("faas")] == 0
                free = max(free, ready) + 0.2
                assert row[column("end_s")] == pytest.approx(free)
    assert functions > 5


# -- functions


def test_cold_start_bills_initialisation_but_not_the_set_up():
    world = World(faas_problem())
    world.step(0, 0)
    assert world.terms["latency_s"] == pytest.approx(0.25 + 0.1 + 0.1234)
    assert (world.terms["cold_starts"], world.terms["faas_ms"]) == (1, 224)  # ceil(100 + 123.4)
    world.step(0, 0)
    assert world.terms["latency_s"] == pytest.approx(0.1234)
    assert (world.terms["cold_starts"], world.terms["faas_ms"]) == (0, 124)
    price = load_prices().faas("lambda-x86")
    meter = FaasMeter(price)
    meter.add_billed_ms(world.problem.unit_prices.faas_memory_mb, 124, 1)
    egress = world.terms["egress_bytes"] * world.problem.params.usd_per_egress_byte
    assert world.terms["usd"] - egress == pytest.approx(float(meter.usd), rel=1e-12)


def test_unbilled_initialisation_and_coarse_steps_and_minimum():
    assert World(faas_problem(faas_init_billed=0)).step(0, 0)["faas_ms"] == 124
    assert World(faas_problem(faas_granularity_ms=100)).step(0, 0)["faas_ms"] == 300
    assert World(faas_problem(faas_minimum_ms=500)).step(0, 0)["faas_ms"] == 500


def test_whole_milliseconds_are_not_rounded_up():
    world = World(faas_problem(faas_work_s=work(0.007)))
    world.step(0, 0)
    assert world.step(0, 0)["faas_ms"] == 7


@pytest.mark.parametrize(("gap", "cold"), [(3, 0), (7, 1)])
def test_keep_alive(gap, cold):
    world = World(faas_problem())
    world.step(0, 0)
    for _ in range(gap):
        world.step(1, 1)
    warm = world.one("warm_instances")
    assert warm == (0 if cold else 1)
    assert world.step(0, 0)["cold_starts"] == cold


def test_the_limit_of_instances_makes_requests_wait_and_refuses_the_late():
    problem = faas_problem(arrival_counts=[400], timeout_s=2.0, faas_work_s=work(0.5))
    world = World(problem)
    world.step(0, 0)
    limit = problem.scenario.faas.max_instances
    assert world.terms["cold_starts"] == limit
    assert world.one("busy_instances") == limit
    assert limit < world.terms["faas_requests"] < 400
    refused = 400 - world.terms["faas_requests"]
    assert world.terms["failed"] >= refused > 0
    # A request that has begun runs to its end, and is billed, even if nobody waits for it any more.
    assert world.terms["faas_ms"] == limit * 600 + (world.terms["faas_requests"] - limit) * 500


# -- edge, timeouts, pauses


def test_edge_bills_started_milliseconds_and_requests():
    world = World(one_stage_problem(edge_work_s=work(0.01234), arrival_counts=[3], usd_per_edge_request=1e-6))
    world.step(0, 1)
    assert world.terms["edge_ms"] == 39
    assert world.terms["edge_requests"] == 3
    assert world.terms["usd"] == pytest.approx(39 * world.problem.params.usd_per_edge_ms + 3e-6, rel=1e-12)
    assert world.terms["transit_bytes"] == world.terms["egress_bytes"] == 0


def test_a_timed_out_request_counts_the_timeout_and_frees_the_device():
    problem = one_stage_problem(device_work_s=work(5.0), timeout_s=0.2, arrival_counts=[1])
    world = World(problem)
    free = 0.0
    for _ in range(5):
        world.step(1, 1)
        row = world.records[0]
        busy_s = row[column("arrival_s")] + 0.2 - max(row[column("arrival_s")], free)
        free = row[column("arrival_s")] + 0.2
        assert row[column("failed")] == 1
        assert row[column("latency_s")] == 0.2
        assert row[column("end_s")] == pytest.approx(row[column("arrival_s")] + 0.2)
        watts = problem.params.device_busy_w - problem.params.device_idle_w
        assert world.terms["device_j"] == pytest.approx(busy_s * watts + problem.params.device_idle_w, rel=1e-9)
    assert world.terms["correct"] == 0


def test_outage_fails_requests_and_sends_little():
    problem = one_stage_problem(cut_bytes=[125_000, 0], timeout_s=1.0, arrival_counts=[1])
    world = World(problem, constant_link(500_000.0 / problem.scenario.uplink.rate_scale))  # 1 Mbit needs 2 s
    world.step(0, 1)
    assert world.terms["failed"] == 1
    p = problem.params
    assert world.terms["radio_j"] == pytest.approx(p.radio_base_w + p.radio_w_per_bps * 500_000.0, rel=1e-9)
    assert world.terms["leakage"] == 1.0  # it was sent, if only in part


def test_repartition_pause_and_least_recently_used():
    problem = compile_problem("camera-lte")
    assert problem.scenario.control.resident_placements == 2
    problem = with_params(
        problem, arrival_counts=[1], device_work_s=problem.params.device_work_s * 0, repartition_s=0.9
    )
    world = World(problem)
    stages = problem.stages
    moves = [world.step(k, stages)["repartitions"] for k in (stages, 1, stages, 2, 1, 1, 2, stages)]
    #        start is free; 1 is loaded; back is free; 2 evicts 1; 1 evicts `stages`; stay; 2 is there; `stages` is gone
    assert moves == [0, 1, 0, 1, 1, 0, 0, 1]
    row = world.records[0]
    assert row[column("device_end_s")] == pytest.approx(max(row[column("arrival_s")], 7 + 0.9))


def test_battery_runs_down_by_what_was_spent_and_then_nothing_works():
    problem = one_stage_problem(device_work_s=work(0.5), arrival_counts=[1], battery_j=60.0, timeout_s=2.0)
    world = World(problem)
    spent, failed = 0.0, []
    for _ in range(25):
        world.step(1, 1)
        spent += world.terms["device_j"] + world.terms["radio_j"]
        failed.append(world.terms["failed"])
        if spent < 50:
            assert world.one("battery") == pytest.approx(1 - spent / 60.0, abs=4.0 / 60.0)  # one may be in service
    assert world.one("battery") == 0.0
    assert failed[0] == 0
    assert failed[-1] == 1
    assert sorted(failed) == failed


# -- privacy, bytes, reward


def test_leakage_and_bytes_follow_what_left_the_device():
    problem = compile_problem("camera-lte")
    problem = with_params(problem, timeout_s=50.0)
    profile = problem.profile
    for cut_device, cut_edge in [(0, 0), (1, 3), (2, 2), (3, 6), (6, 6)]:
        world = World(problem, constant_link(1e9))
        for _ in range(4):
            world.step(cut_device, cut_edge, threshold=1)
            last = np.array([profile.exits[int(e)].after_stage for e in world.records[:, column("exit")]])
            left, cloud = last > cut_device, last > cut_edge
            assert world.terms["failed"] == 0
            assert world.terms["leakage"] == pytest.approx(left.sum() * profile.leakage[cut_device])
            assert (world.records[:, column("leakage")] == left * profile.leakage[cut_device]).all()
            assert world.terms["uplink_bytes"] == left.sum() * profile.cut_bytes[cut_device]
            assert world.terms["transit_bytes"] == cloud.sum() * profile.cut_bytes[cut_edge]
            assert world.terms["egress_bytes"] == cloud.sum() * profile.result_bytes
            assert world.terms["faas_requests"] == cloud.sum()


def test_reward_is_the_weighted_sum():
    problem = compile_problem("camera-lte")
    world = World(problem)
    world.simulator.set_weights([0.2, 0.5, 0.3])
    world.simulator.reset(1)
    goal = problem.scenario.objective
    for _ in range(20):
        terms = world.step(2, 4, "spill", 1, threshold=2)
        n = max(terms["arrived"], 1)
        answered = max(terms["arrived"] - terms["failed"], 1)
        expected = -(
            0.2 * terms["latency_s"] / n / goal.latency_ref_s
            + 0.5 * terms["usd"] / goal.cost_ref_usd
            + 0.3 * terms["leakage"] / n
        )
        expected -= (
            goal.accuracy_penalty * terms["accuracy_loss"] / answered + goal.failure_penalty * terms["failed"] / n
        )
        assert terms["reward"] == pytest.approx(expected, rel=1e-12)
        right = world.problem.profile.correct[world.records[:, column("sample")].astype(int)]
        ok = world.records[:, column("failed")] == 0
        given = right[np.arange(len(right)), world.records[:, column("exit")].astype(int)]
        assert terms["accuracy_loss"] == (right[ok, -1].astype(float) - given[ok]).sum()
