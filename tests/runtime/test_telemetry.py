"""Telemetry against the kernel: the same events give the same rows and the same terms."""

import math
import threading

import numpy as np
import pytest

from edgecloud.envs import SCHEMA, TERMS, Measurements, compile_problem
from edgecloud.envs.measure import column, width
from edgecloud.errors import InputError
from edgecloud.runtime.in_force import InForce
from edgecloud.runtime.records import COMPONENTS, RequestRecord, completed
from edgecloud.runtime.telemetry import GAUGES, Telemetry
from edgecloud.runtime.terms import terms_of
from edgecloud.traces import LinkTrace, generated_split

from .feeding import plant, random_actions, shortened

PROBLEM = shortened(80)
WEIGHTS = (0.5, 0.3, 0.2)
NAMES = [field.name if field.size == 1 else f"{field.name}_{k}" for field in SCHEMA for k in range(field.size)]


def constant(rate_bps: float) -> LinkTrace:
    return LinkTrace("constant", "static", np.arange(91.0), np.full(90, rate_bps))


def play(problem, link, seed, *, modem=True, actions=None):
    """Rows and terms of kernel and telemetry over an episode."""
    simulator, world, telemetry = plant(problem, link, WEIGHTS, seed, modem=modem)
    chosen = random_actions(problem, problem.params.episode_intervals, seed) if actions is None else actions
    kernel_rows, kernel_terms, intervals, records = [], [], [], []
    for action in chosen:
        telemetry.decided(action)
        kernel_rows.append(simulator.step(action[None]).rows[0].copy())
        kernel_terms.append(simulator.terms[0].copy())
        world.step(action.tolist())
        world.report()
        intervals.append(telemetry.close(world.until))
        records += telemetry.take_records()
    records += [record for _, record in world.waiting]  # what the end of the episode leaves unanswered
    return np.array(kernel_rows), np.array(kernel_terms), intervals, records


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rows_and_terms_are_the_kernels(seed: int) -> None:
    link = generated_split(seed, duration_s=200.0).test[seed]
    rows, terms, intervals, records = play(PROBLEM, link, seed)
    for t, interval in enumerate(intervals):
        for name, got, want in zip(NAMES, interval.row, rows[t], strict=True):
            tolerance = 1e-3 if name == "uplink_queue_bytes" else 1e-7  # a difference of large numbers; float32 tables
            assert got == pytest.approx(want, rel=1e-7, abs=tolerance), f"interval {t}: {name}"
    mine, judged = terms_of(PROBLEM, intervals, records, np.array(WEIGHTS))
    for k, name in enumerate(TERMS):
        np.testing.assert_allclose(mine[:, k], terms[:, k], rtol=1e-9, atol=1e-9, err_msg=name)
    assert judged == terms[:, TERMS.index("arrived")].sum() - terms[:, TERMS.index("failed")].sum()
    used = {name for name in TERMS if np.ptp(terms[:, TERMS.index(name)]) > 0}
    assert {"failed", "faas_ms", "cold_starts", "vm_s", "edge_ms", "transit_bytes", "repartitions", "expired"} <= used


def test_battery_and_other_scenario() -> None:
    problem = shortened(40, "drone-battery")
    rows, _, intervals, _ = play(problem, generated_split(5, duration_s=200.0).test[0], 5)
    mine = np.array([interval.row for interval in intervals])
    assert rows[-1, column("battery")] < 1.0
    np.testing.assert_allclose(mine, rows, rtol=1e-7, atol=1e-3)


def test_without_a_modem_transfers_show_the_rate() -> None:
    send_raw = np.tile(PROBLEM.action(0, PROBLEM.stages, 6, "faas", 0), (80, 1))
    rows, _, intervals, _ = play(PROBLEM, constant(30e6), 3, modem=False, actions=send_raw)
    at = column("rate_bps")
    mine = np.array([interval.row for interval in intervals])
    np.testing.assert_allclose(mine[:, at : at + 5], rows[:, at : at + 5], rtol=1e-6)
    assert mine[0, at] == pytest.approx(30e6 * PROBLEM.scenario.uplink.rate_scale)


def test_an_outage_shows_before_its_transfer_ends() -> None:
    telemetry = Telemetry(PROBLEM, rate_bps=8e6)
    telemetry.uplink_started(100_000, t=0.5)
    rates = [telemetry.close(t).row[column("rate_bps")] for t in (1.0, 2.0, 5.0)]
    assert rates == pytest.approx([8e5 / 0.5, 8e5 / 1.5, 8e5 / 4.5])
    assert telemetry.unmeasured_intervals == 3
    telemetry.uplink_finished(100_000, 5.0)
    assert telemetry.close(6.0).row[column("rate_bps")] == pytest.approx(160e3)
    assert telemetry.unmeasured_intervals == 0


def test_an_unknown_rate_is_zero_until_it_is_measured() -> None:
    telemetry = Telemetry(PROBLEM)
    assert (telemetry.close(1.0).row[:5] == 0.0).all()
    telemetry.uplink_finished(125_000, 0.5)
    assert telemetry.close(2.0).row[:5] == pytest.approx([2e6] * 5)


def test_first_row_is_an_idle_system_in_the_scenarios_means() -> None:
    telemetry = Telemetry(compile_problem("camera-lte"))
    row = telemetry.measurements
    assert row.rows.shape == (1, width())
    assert row.arrivals[0].tolist() == pytest.approx([2.6] * 4, rel=1e-3)  # (1*120 + 3*120 + 5*60) / 300
    assert float(row.battery[0]) == 1.0
    assert float(row.placement[0]) == PROBLEM.start_action[0]
    assert row.weights[0].tolist() == [0.34, 0.33, 0.33]


def test_events_of_the_next_interval_wait() -> None:
    telemetry = Telemetry(PROBLEM)
    telemetry.arrived(0.4)
    telemetry.arrived(1.2)
    telemetry.answered(RequestRecord("b", 1.2, 1.4, 0.2, exit=1))
    first = telemetry.close(1.0)
    assert (first.row[column("arrivals")], first.in_flight, first.finished) == (1, 1, 0)
    assert telemetry.take_records() == []
    second = telemetry.close(2.0)
    assert (second.row[column("arrivals")], second.in_flight, second.finished) == (1, 1, 1)
    assert [record.id for record in telemetry.take_records()] == ["b"]


def test_gauges_are_checked_and_watched() -> None:
    telemetry = Telemetry(PROBLEM)
    with pytest.raises(InputError, match="did you mean 'edge_queue'"):
        telemetry.gauge("edge_qeue", 1.0)
    for value in (-1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="finite and not negative"):
            telemetry.gauge("edge_queue", value)
    telemetry.watch(lambda: {"edge_queue": 3.0, "vm_billed_s": 61.0})
    telemetry.watch(lambda: {}["gone"])
    interval = telemetry.close(1.0)
    assert (interval.row[column("edge_queue")], interval.vm_s, telemetry.source_failures) == (3.0, 61.0, 1)
    assert telemetry.close(2.0).vm_s == 0.0
    assert set(GAUGES) <= {field.name for field in SCHEMA}


def test_what_a_provider_bills_counts_whether_or_not_it_was_answered() -> None:
    lost = RequestRecord("a", 0.2, 6.2, 6.0, failed=True, route="faas")
    bills = {"faas_billed_ms": 2400.0, "faas_requests": 2.0, "cold_starts": 1.0}
    metered, told = Telemetry(PROBLEM), Telemetry(PROBLEM)
    metered.watch(lambda: bills)
    booked = []
    answered = RequestRecord("b", 0.3, 0.5, 0.2, faas=True, route="faas", exit=3, faas_ms=100.0, faas_requests=1.0)
    for telemetry in (metered, told):
        for record in (lost, answered):
            telemetry.arrived(record.arrival_s)
            telemetry.answered(record)
        intervals = [telemetry.close(1.0 + t) for t in range(8)]
        terms, _ = terms_of(PROBLEM, intervals, telemetry.take_records(), np.array(WEIGHTS))
        booked.append([terms[:, TERMS.index(name)].sum() for name in ("faas_ms", "faas_requests", "cold_starts")])
    assert booked == [[2400.0, 2.0, 1.0], [100.0, 1.0, 0.0]]


def test_meters_that_start_anew_or_late_are_not_booked_twice() -> None:
    readings = iter([{}, {"faas_billed_ms": 50.0}, {"faas_billed_ms": 70.0}, {"faas_billed_ms": 30.0}])
    telemetry = Telemetry(PROBLEM)
    telemetry.watch(lambda: next(readings))
    assert [telemetry.close(1.0 + t).faas_ms for t in range(4)] == [None, None, 20.0, 30.0]  # the last: a new server


def test_what_an_earlier_controller_was_billed_is_not_this_ones() -> None:
    telemetry = Telemetry(PROBLEM, first=Telemetry(PROBLEM, rate_bps=5e6).measurements.rows)
    bills = {"vm_billed_s": 3600.0, "faas_billed_ms": 900.0}
    telemetry.watch(lambda: bills)
    telemetry.begin(0.0)
    bills["vm_billed_s"] += 1.0
    interval = telemetry.close(1.0)
    assert (interval.vm_s, interval.faas_ms) == (1.0, 0.0)


def test_the_preference_can_change_while_serving() -> None:
    telemetry = Telemetry(PROBLEM)
    telemetry.set_weights((1.0, 0.0, 0.0))
    assert telemetry.measurements.weights[0].tolist() == [1.0, 0.0, 0.0]
    with pytest.raises(InputError, match="sum to 1"):
        telemetry.set_weights((1.0, 1.0, 0.0))


def test_many_threads_lose_nothing() -> None:
    telemetry = Telemetry(PROBLEM)

    def client(k: int) -> None:
        for j in range(200):
            t = (200 * k + j) * 1e-4
            telemetry.arrived(t)
            telemetry.uplink_finished(1000, 1e-3)
            telemetry.answered(RequestRecord(f"{k}-{j}", t, t, 0.0, exit=0))

    threads = [threading.Thread(target=client, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    closed = [telemetry.close(now) for now in (0.01, 0.02)]
    for thread in threads:
        thread.join()
    closed.append(telemetry.close(1.0))
    assert sum(interval.finished for interval in closed) == 1600
    assert len(telemetry.take_records()) == 1600
    assert closed[-1].in_flight == 0


def test_a_bad_first_row_is_refused() -> None:
    with pytest.raises(InputError, match="finite numbers"):
        Telemetry(PROBLEM, first=np.full(width(), np.nan))
    row = Telemetry(PROBLEM, rate_bps=5e6).measurements
    again = Telemetry(PROBLEM, first=row.rows).measurements
    assert isinstance(again, Measurements)
    np.testing.assert_array_equal(again.rows, row.rows)


def test_unknown_bills_follow_from_the_seconds() -> None:
    record = RequestRecord(
        "a", 0.0, 1.0, 1.0, edge_service_s=0.0101, device_service_s=2.0, cloud_service_s=0.1, init_s=0.3, faas=True
    )
    done = completed(PROBLEM, record)
    p = PROBLEM.params
    assert (done.edge_ms, done.edge_requests, done.faas_ms, done.faas_requests) == (11.0, 1.0, 400.0, 1.0)
    assert done.device_j == pytest.approx(2.0 * (p.device_busy_w - p.device_idle_w))
    assert completed(PROBLEM, done) is done


def test_records_survive_json_and_refuse_what_is_wrong() -> None:
    record = RequestRecord("a", 0.5, 1.0, 0.5, exit=2, route="spill", cold=True)
    again = RequestRecord.from_dict(record.to_dict())
    assert again.to_dict() == record.to_dict()
    assert math.isnan(again.correct)
    with pytest.raises(InputError, match="did you mean 'latency_s'"):
        RequestRecord.from_dict({**record.to_dict(), "latncy_s": 1.0})
    with pytest.raises(InputError, match="exit: must be of type int"):
        RequestRecord.from_dict({**record.to_dict(), "exit": 1.5})
    with pytest.raises(InputError, match="end_s: is missing"):
        RequestRecord.from_dict({"id": "a", "arrival_s": 0.0, "latency_s": 1.0})
    assert set(COMPONENTS) <= set(record.to_dict())


def test_the_plan_in_force_ages_and_unloads() -> None:
    plan = InForce((9, 6, 1, 0), resident=2)
    assert plan.fields()["other_placement"] == 9
    moves = [plan.decide((p, 0, 0, 0)) for p in (1, 1, 2, 1, 3, 2)]
    assert moves == [False, False, True, False, True, True]
    assert plan.fields() == {
        "placement": 2, "threshold": 0, "route": 0, "vm_target": 0, "placement_age": 0, "other_placement": 3,
    }  # fmt: skip
