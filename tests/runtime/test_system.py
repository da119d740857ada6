"""Everything at once, in real processes: device, shaped link, edge server, gateway, VM worker, function, controller."""

from pathlib import Path

import numpy as np
import pytest

from edgecloud.envs import TERMS, compile_problem, load_scenario
from edgecloud.envs.measure import column
from edgecloud.envs.measured import TIERS, MeasuredTimes
from edgecloud.errors import InputError
from edgecloud.runtime.calibration import calibrate, calibrated_scenario
from edgecloud.runtime.replay import replay
from edgecloud.runtime.served_run import RunPlan, serve_run
from edgecloud.runtime.serving.plan import Plan
from edgecloud.runtime.sim_to_real import HeldCuts, compare_cuts, compare_parts
from edgecloud.runtime.system import Slowdowns, System, SystemSettings
from edgecloud.runtime.workload import draw_workload, random_images
from edgecloud.settings import toml_text
from edgecloud.traces import LinkTrace

MODEL = "random:shipped"
LINK = LinkTrace("lab", "static", [0.0, 1000.0], [5e8])
STEPS = LinkTrace("steps", "static", np.arange(13.0), np.array([5e8, 2e8] * 6))


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The demo's, with patience for a busy machine and functions that are soon forgotten."""
    base = load_scenario("demo")
    patient = base.model_copy(
        update={
            "limits": base.limits.model_copy(update={"timeout_s": 60.0}),
            "faas": base.faas.model_copy(update={"keep_alive_s": 1.5}),
            "vm": base.vm.model_copy(update={"boot_median_s": 0.5}),
        }
    )
    path = tmp_path_factory.mktemp("scenario") / "patient.toml"
    path.write_text(toml_text(patient))
    return str(path)


@pytest.mark.slow
def test_every_route_answers_with_the_whole_networks_bits_and_is_billed(scenario: str) -> None:
    problem = compile_problem(scenario)
    settings = SystemSettings(MODEL, scenario, encoding="fp32", real_boot=True)
    with System(problem, settings, LINK) as system:
        images = random_images(system.model, 2, 0)
        whole = system.model.whole()
        expected = whole(whole.prepare(images.tensor(1)))[-1][0].detach().numpy()
        system.apply(problem_action(problem, vm_target=1))
        for plan, tier in (
            (Plan(6, 6), "device"),
            (Plan(2, 6), "edge"),
            (Plan(1, 3, route="faas"), "cloud"),
            (Plan(0, 0, route="vm"), "cloud"),
        ):
            record = system.device.submit(images.tensor(1), 1, plan, want_logits=True).result(90.0)
            assert (record.status, record.tier, record.reason) == ("ok", tier, "")
            assert np.frombuffer(record.logits, "<f4").tobytes() == expected.astype("<f4").tobytes()
            assert record.faas == (plan.route == "faas" and tier == "cloud")
        bills = system.bills()
    assert (bills["cold_starts"], bills["faas_requests"]) == (1, 1)
    assert bills["faas_billed_ms"] > 0
    assert bills["vm_billed_s"] >= 1
    assert bills["usd"] > 0


@pytest.mark.slow
def test_a_run_is_calibrated_served_recorded_and_predicted(scenario: str, tmp_path: Path) -> None:
    problem = compile_problem(scenario)
    settings = SystemSettings(MODEL, scenario, Slowdowns(device=3.0), fallback=False, real_boot=True)
    with System(problem, settings, LINK) as system:
        images = random_images(system.model, 16, 0)
        found = calibrate(system, images, repeats=3, cold_starts=2, source="test")
    assert min(found.setup_s + found.init_s) > 0
    assert all(min(found.times.tiers[name].stage_s) >= 0 for name in TIERS)  # type: ignore[index]
    assert found.times.cut_bytes[-1] == 0
    assert found.times.cut_bytes[0] > 3072

    times = tmp_path / "times.json"
    times.write_text(found.times.model_dump_json())
    assert MeasuredTimes.model_validate_json(times.read_bytes()) == found.times
    mine = tmp_path / "mine.toml"
    mine.write_text(toml_text(calibrated_scenario(load_scenario(scenario), found, str(times), "mine")))
    calibrated = compile_problem(str(mine))
    assert calibrated.params.rtt_s == pytest.approx(found.uplink_rtt_s)
    assert calibrated.link_rtt_s == pytest.approx(problem.params.rtt_s)  # the overhead is not shaped a second time

    policy = HeldCuts([(6, 6), (0, 6), (0, 0)], hold=3)
    work = draw_workload(calibrated, 8, 16, np.random.default_rng(3))
    settings = SystemSettings(MODEL, str(mine), Slowdowns(device=3.0), fallback=False, real_boot=True)
    run = serve_run(calibrated, settings, RunPlan(policy, work, images, STEPS), tmp_path / "run")
    assert len(run.requests) == len(work.sample)
    assert not any(record.failed for record in run.requests)
    rates = run.recording.rows[1:7, column("rate_bps")] / calibrated.scenario.uplink.rate_scale
    assert rates.tolist() == pytest.approx([5e8, 2e8] * 3, rel=0.2)  # link and intervals begin together
    terms = run.recording.terms(calibrated)
    assert terms[:, TERMS.index("arrived")].sum() == len(work.sample)
    assert terms[:, TERMS.index("faas_requests")].sum() == sum(record.faas for record in run.requests) > 0
    replayed = replay(run.recording, calibrated, copies=8, measured_rtt=False)
    assert replayed.terms[:, :, TERMS.index("arrived")].sum(axis=0).tolist() == [len(work.sample)] * 8
    cuts = compare_cuts([(run.recording, replayed)], calibrated, fewest=1)
    assert sum(row.measured for row in cuts) == len(work.sample)
    parts = compare_parts([(run.recording, replayed)], calibrated, fewest=1)
    for row in cuts:  # the parts are all of the latency
        mean = np.mean([r.latency_s for r in run.requests if placed(calibrated, r) == row.placement])
        assert sum(part.measured_s for part in parts if part.placement == row.placement) == pytest.approx(
            mean, rel=0.02
        )


def test_a_network_that_does_not_fit_the_profile_is_refused(scenario: str) -> None:
    with pytest.raises(InputError, match="must be"):
        System(compile_problem(scenario), SystemSettings("random:small", scenario))


def test_slowdowns_are_at_least_one() -> None:
    with pytest.raises(InputError, match="at least 1"):
        Slowdowns(edge=0.5)


def problem_action(problem, vm_target):
    from edgecloud.envs import Action

    return Action(problem.stages, problem.stages, len(problem.thresholds) - 1, "faas", vm_target)


def placed(problem, record):
    return problem.placement(record.plan.cut_device, record.plan.cut_edge)
