"""Arrivals of a served run: the environment's process."""

import numpy as np
import pytest

from edgecloud.envs import compile_problem
from edgecloud.runtime.serving.model import load_split_model
from edgecloud.runtime.workload import Images, draw_workload, judge_of, random_images


def test_arrivals_have_the_chains_mean_and_order() -> None:
    problem = compile_problem("demo")
    work = draw_workload(problem, 20_000, 100, np.random.default_rng(0))
    p = problem.params
    mean = np.average(p.arrival_rps, weights=1.0 / p.arrival_leave)
    assert len(work.arrival_s) / 20_000 == pytest.approx(mean, rel=0.05)
    assert (np.diff(work.arrival_s) >= 0).all()
    assert work.sample.min() >= 0
    assert work.sample.max() < 100
    assert work.seconds == work.arrival_s[-1]


def test_arrivals_are_overdispersed_as_a_modulated_process_is() -> None:
    problem = compile_problem("demo")
    work = draw_workload(problem, 5_000, 10, np.random.default_rng(1))
    counts = np.bincount(work.arrival_s.astype(int), minlength=5_000)
    assert counts.var() > 1.1 * counts.mean()


def test_same_seed_same_workload() -> None:
    problem = compile_problem("demo")
    one, other = (draw_workload(problem, 50, 10, np.random.default_rng(7)) for _ in range(2))
    assert (one.arrival_s == other.arrival_s).all()
    assert (one.sample == other.sample).all()


def test_the_judge_knows_labels_and_the_whole_networks_answer() -> None:
    problem = compile_problem("demo")
    correct = problem.profile.correct
    labels = np.arange(len(correct)) % 10
    images = Images(np.zeros((len(correct), 3, 32, 32), dtype=np.uint8), labels)
    judge = judge_of(problem, images)
    assert judge is not None
    assert judge(3, 0, 3) == (1.0, float(correct[3, -1]))
    assert judge(3, 0, 4)[0] == 0.0
    assert judge_of(problem, random_images(load_split_model("random:shipped"), 5, 0)) is None
