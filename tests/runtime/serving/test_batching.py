import copy
import math
import threading
import time

import pytest
import torch

from edgecloud.runtime.serving.batching import TierQueue
from edgecloud.runtime.serving.joint import JointRunner
from edgecloud.runtime.serving.model import Activation, Answer, SplitModel, run_segment
from edgecloud.runtime.serving.pace import MachinePace, Stretched
from edgecloud.runtime.serving.transport_errors import DeadlineError, OverloadedError


def images(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return list(torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator).split(1))


def bits(result: Answer | Activation) -> tuple[object, ...]:
    if isinstance(result, Answer):
        return result.exit, result.label, result.confidence, tuple(result.logits.tolist())
    return result.cut, tuple(result.tensor.flatten().tolist())


@pytest.mark.parametrize("threshold", [math.inf, 0.5])
@pytest.mark.parametrize("part", [(0, 3), (0, 6)])
def test_a_batch_gives_each_its_own_answer(split_model: SplitModel, threshold: float, part: tuple[int, int]) -> None:
    segment, _ = split_model.segments.get(*part)
    inputs = images(5)
    alone = [bits(run_segment(segment, value, threshold)) for value in inputs]
    assert [bits(result) for result in JointRunner().run(segment, inputs, threshold)] == alone


def test_an_inexact_batch_is_close(split_model: SplitModel) -> None:
    segment, _ = split_model.segments.get(0, 6)
    results = JointRunner(exact=False).run(segment, images(4), math.inf)
    for value, result in zip(images(4), results, strict=True):
        alone = run_segment(segment, value, math.inf)
        assert isinstance(alone, Answer)
        assert isinstance(result, Answer)
        assert torch.allclose(result.logits, alone.logits, rtol=1e-4, atol=1e-3)


def test_jobs_are_served_in_order_and_together(split_model: SplitModel) -> None:
    queue = TierQueue(split_model, max_batch=4, max_wait_s=0.5)
    try:
        until = time.monotonic() + 20
        plans = [(0, 6)] * 3 + [(0, 5)] + [(0, 6)]
        jobs = [queue.submit(value, *plan, math.inf, until) for value, plan in zip(images(5), plans, strict=True)]
        done = [job.result(20) for job in jobs]
        # The fourth belongs to another plan, and the fifth must not overtake it.
        assert [outcome.batch for outcome in done] == [3, 3, 3, 1, 1]
        assert [outcome.ahead for outcome in done] == [0, 1, 2, 3, 4]
    finally:
        queue.close()


def test_a_full_queue_refuses(split_model: SplitModel) -> None:
    queue = TierQueue(split_model, capacity=2, pace=Stretched(30.0))
    try:
        until = time.monotonic() + 20
        jobs = [queue.submit(images(1)[0], 0, 6, math.inf, until) for _ in range(2)]
        with pytest.raises(OverloadedError, match="2 requests are waiting"):
            queue.submit(images(1)[0], 0, 6, math.inf, until)
        assert queue.length == 2
        assert all(isinstance(job.result(20).result, Answer) for job in jobs)
        assert queue.load() > 0
    finally:
        queue.close()


def test_what_is_too_late_is_dropped(split_model: SplitModel) -> None:
    queue = TierQueue(split_model)
    try:
        late = queue.submit(images(1)[0], 0, 6, math.inf, time.monotonic() - 1)
        with pytest.raises(DeadlineError):
            late.result(5)
        assert queue.dropped == 1
    finally:
        queue.close()


def test_a_failing_job_does_not_end_the_tier(split_model: SplitModel) -> None:
    queue = TierQueue(split_model)
    try:
        until = time.monotonic() + 20
        with pytest.raises(RuntimeError):
            queue.submit(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), 0, 6, math.inf, until).result(10)
        assert isinstance(queue.submit(images(1)[0], 0, 6, math.inf, until).result(10).result, Answer)
    finally:
        queue.close()


def test_slowdown_stretches_service(split_model: SplitModel) -> None:
    times = {}
    for factor in (1.0, 20.0):
        queue = TierQueue(split_model, pace=Stretched(factor))
        until = time.monotonic() + 60
        runs = [queue.submit(images(1)[0], 0, 6, math.inf, until).result(60).service_s for _ in range(5)]
        times[factor] = min(runs)
        queue.close()
    assert times[20.0] > 5 * times[1.0]
    with pytest.raises(ValueError, match="slowdown"):
        Stretched(0.5)


def test_a_machine_takes_the_time_of_its_stages_and_of_the_heads_that_were_asked() -> None:
    pace = MachinePace((1.0, 2.0, 4.0), (0.25, 0.5), exits=(2, 3))
    assert pace.mean_s(0, 3, heads=True) == pytest.approx(7.75)
    assert pace.mean_s(0, 3, heads=False) == pytest.approx(7.5)  # the last head is always asked
    assert pace.mean_s(0, 2, heads=True) == pytest.approx(3.25)  # a head belongs to the part that ends at it
    assert pace.mean_s(2, 3, heads=True) == pytest.approx(4.5)
    assert pace.rest_s(2, 3, True, 0.1, 0.5) == pytest.approx(4.0)
    assert pace.rest_s(2, 3, True, 9.0, 9.0) == 0.0


def test_factors_of_a_machine_have_their_mean() -> None:
    pace = MachinePace((1.0,), (0.0,), exits=(1,), factors=(0.5, 1.5), seed=4)
    drawn = [pace.rest_s(0, 1, False, 0.0, 0.0) for _ in range(400)]
    assert set(drawn) == {0.5, 1.5}
    assert sum(drawn) / len(drawn) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("stages", "heads"), [((1.0, -1.0), (0.0,)), ((1.0, 1.0), (0.0, 0.0))])
def test_impossible_machines_are_refused(stages: tuple[float, ...], heads: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="pace"):
        MachinePace(stages, heads, exits=(2,))


def test_a_paced_queue_serves_as_long_as_its_machine_would(split_model: SplitModel) -> None:
    exits = split_model.exits
    pace = MachinePace((0.05,) * 6, (0.02,) * len(exits), exits)
    queue = TierQueue(split_model, pace=pace)
    try:
        until = time.monotonic() + 20
        whole = queue.submit(images(1)[0], 0, 6, math.inf, until).result(20)
        early = queue.submit(images(1)[0], 0, 6, 0.0, until).result(20)
        assert whole.service_s == pytest.approx(0.32, abs=0.05)
        assert early.service_s == pytest.approx(0.05 * exits[0] + 0.02, abs=0.05)
    finally:
        queue.close()


def test_few_callers_threads_compute(split_model: SplitModel, monkeypatch: pytest.MonkeyPatch) -> None:
    queue, computing, run = TierQueue(split_model, inline=True), set(), JointRunner.run

    def noted(self: JointRunner, *arguments: object) -> list[Answer | Activation]:
        computing.add(threading.get_ident())
        return run(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(JointRunner, "run", noted)
    gate, outcomes = threading.Barrier(13), []

    def call() -> None:
        gate.wait(20)  # all live at a time: a thread that has ended leaves its number to another
        with turn:
            outcomes.append(queue.submit(images(1)[0], 0, 6, math.inf, time.monotonic() + 20).result(20))
        gate.wait(20)

    turn = threading.Lock()
    callers = [threading.Thread(target=call) for _ in range(12)]
    for caller in callers:
        caller.start()
    gate.wait(20)
    gate.wait(20)
    for caller in callers:
        caller.join()
    queue.close()
    assert len(outcomes) == queue.served == 12
    own = {caller.ident for caller in callers}
    assert len(computing & own) == 4  # the first few
    assert len(computing - own) == 1  # the queue's own thread did the rest


def test_load_is_the_busy_share_of_the_last_seconds(split_model: SplitModel, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("edgecloud.runtime.serving.batching.time.monotonic", lambda: now[0])
    queue = TierQueue(split_model)
    monkeypatch.setattr(queue, "_serve", lambda batch, started: [])

    def busy(begin: float, end: float) -> None:
        now[0] = begin
        monkeypatch.setattr(queue, "_serve", lambda batch, started: now.__setitem__(0, end) or [])
        queue._complete([])

    assert queue.load() == 0.0
    busy(100.0, 101.0)
    busy(103.0, 104.5)
    assert queue.load() == pytest.approx(0.5)
    now[0] = 105.5  # the window begins in the middle of the first
    assert queue.load() == pytest.approx(0.4)
    now[0] = 107.0
    assert queue.load() == pytest.approx(0.3)
    now[0] = 109.5
    assert queue.load() == 0.0
    busy(110.0, 130.0)
    assert queue.load() == 1.0
    now[0] = 200.0
    queue.close()


def test_a_part_that_is_gone_is_forgotten(split_model: SplitModel) -> None:
    import gc

    runner = JointRunner()
    segment, _ = split_model.segments.get(0, 6)
    part = copy.deepcopy(segment.stages[0])
    values = [segment.prepare(value) for value in images(2)]
    with torch.inference_mode():
        runner._apply(part, values)
    assert len(runner._same) == 1
    del part
    gc.collect()
    assert len(runner._same) == 0
