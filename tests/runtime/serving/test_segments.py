import threading
import time

import pytest

from edgecloud.errors import InputError
from edgecloud.runtime.serving.model import SplitModel, load_split_model
from edgecloud.runtime.serving.segments import Segment, SegmentStore


def slow_store(resident: int, seconds: float = 0.05) -> SegmentStore:
    def load(first: int, last: int) -> Segment:
        time.sleep(seconds)
        return Segment(first, last, (), {}, 6, lambda image: image)

    return SegmentStore(load, resident)


def test_a_prepared_part_costs_no_pause() -> None:
    store = slow_store(2)
    _, pause_s = store.get(0, 3)
    assert pause_s >= 0.05
    assert store.prepare(0, 4) == (True, pytest.approx(0.05, abs=0.5))
    assert store.resident == ((0, 3), (0, 4))  # the one at work is not the next to go
    assert store.get(0, 4)[1] == 0.0
    assert store.get(0, 3)[1] == 0.0
    assert store.loads == 2


def test_without_room_the_pause_is_measured() -> None:
    store = slow_store(1)
    store.get(0, 3)
    assert store.prepare(0, 4) == (False, 0.0)
    assert store.get(0, 4)[1] >= 0.05
    assert store.resident == ((0, 4),)
    assert store.pause_s >= 0.1


def test_the_part_used_longest_ago_goes() -> None:
    store = slow_store(2, 0.0)
    for key in ((0, 1), (0, 2), (0, 1), (0, 3)):
        store.get(*key)
    assert store.resident == ((0, 3), (0, 1))


def test_a_resident_part_is_served_while_another_loads() -> None:
    store = slow_store(2, 0.3)
    store.get(0, 1)
    loading = threading.Thread(target=store.prepare, args=(0, 2))
    loading.start()
    time.sleep(0.05)
    started = time.monotonic()
    store.get(0, 1)
    assert time.monotonic() - started < 0.2
    loading.join()
    assert set(store.resident) == {(0, 1), (0, 2)}


def test_two_that_want_the_same_load_it_once() -> None:
    store = slow_store(2)
    threads = [threading.Thread(target=store.get, args=(0, 1)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.loads == 1


def test_a_part_has_its_own_parameters_only() -> None:
    model = load_split_model("random:small")
    segment, _ = model.segments.get(2, 4)
    assert len(segment.stages) == 2
    assert set(segment.heads) == {3}


def test_the_device_keeps_everything(split_model: SplitModel) -> None:
    model = load_split_model("random:small", resident=1)
    model.keep_whole()
    for first in range(model.stages):
        segment, _ = model.segments.get(first, model.stages)
        assert segment.stages[0] is model.segments.get(0, model.stages)[0].stages[first]


@pytest.mark.parametrize("spec", ["random:huge", "random:small:x", "/nowhere"])
def test_unknown_models_are_refused(spec: str) -> None:
    with pytest.raises(InputError):
        load_split_model(spec)


def test_there_must_be_room_for_one() -> None:
    with pytest.raises(InputError, match="resident"):
        slow_store(0)


def test_a_cold_start_imports_no_more_than_it_needs() -> None:
    import subprocess
    import sys

    code = "import sys, edgecloud.runtime.serving.worker; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "torch" in loaded
    assert not loaded & {"pydantic", "numba", "grpc", "cryptography", "edgecloud.envs", "edgecloud.profiles.catalogue"}
