"""The kernel's machine code: kept between runs, made anew when a part changes, nothing counted or allocated."""

import os
import types

import numpy as np
import pytest

from edgecloud.envs import Simulator, foresight, kernel
from edgecloud.envs.compiled import refresh

from .support import TRAIN, compile_problem, with_params


@pytest.mark.parametrize(("age_s", "stale"), [(-100, True), (100, False)])
def test_a_newer_part_makes_the_cache_stale(tmp_path, age_s, stale):
    own, part = tmp_path / "own.py", tmp_path / "part.py"
    for file in (own, part):
        file.write_text("x = 1\n", encoding="utf-8")
    os.utime(own, (1e9, 1e9))
    os.utime(part, (1e9 - age_s, 1e9 - age_s))
    module = types.ModuleType("part")
    module.__file__ = str(part)
    refresh(str(own), module)
    assert (own.stat().st_mtime > 1e9) == stale
    refresh(str(tmp_path / "not_there.py"), module)  # a read-only or vanished file is no error


def test_entry_points_are_cached_on_disk():
    for function in (kernel.step, kernel.reset, foresight._foresee):
        assert function.stats.cache_path is not None


def test_one_compilation_serves_every_problem():
    problem = compile_problem("camera-lte")
    for changed in (problem, with_params(problem, arrival_counts=[1, 2], timeout_s=1.0)):
        simulator = Simulator(changed, TRAIN, 2, records=True)
        simulator.reset(0)
        simulator.step(np.tile(problem.start_action, (2, 1)))
    assert len(kernel.step.signatures) == 1
    assert len(kernel.reset.signatures) == 1
