"""An exported policy decides as the trained one does, and needs numpy and onnxruntime only."""

import importlib.util
import json
import re
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecloud.agents import PPOPolicy, load_sb3_policy
from edgecloud.envs import SCHEMA, Measurements, Problem, Simulator, Window, evaluation_windows, rollout
from edgecloud.envs.measure import width
from edgecloud.errors import InputError
from edgecloud.runtime import Decision, Policy
from edgecloud.runtime.in_force import OWN_FIELDS
from edgecloud.traces import TraceSet

from .feeding import shortened

ROOT = Path(__file__).parents[2]


def benchmark() -> Any:
    spec = importlib.util.spec_from_file_location("export_decision", ROOT / "benchmarks" / "export_decision.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def named(row: np.ndarray, without: tuple[str, ...] = ()) -> dict[str, Any]:
    fields, at = {}, 0
    for field in SCHEMA:
        part = row[at : at + field.size].tolist()
        fields[field.name] = part if field.size > 1 else part[0]
        at += field.size
    return {name: value for name, value in fields.items() if name not in without}


@pytest.fixture(scope="module")
def rows(trained: Path, problem: Problem, traces: TraceSet) -> np.ndarray:
    """6,000 rows from episodes at random preferences, 6,000 drawn."""
    windows = (evaluation_windows(traces.split.test, problem) * 100)[:100]
    weights = np.random.default_rng(0).dirichlet(np.ones(3), 100)
    seen = rollout(PPOPolicy.load(trained), problem, traces.split.test, windows, weights, keep_rows=True).rows
    drawn = benchmark().random_rows(problem, 6000, np.random.default_rng(1))
    return np.concatenate([seen.reshape(-1, width()), drawn])


def test_actions_are_those_of_stable_baselines3(
    rows: np.ndarray, artifact: Path, trained: Path, problem: Problem
) -> None:
    policy, network = Policy.load(artifact), load_sb3_policy(trained)
    graph = policy.inspect(rows)
    np.testing.assert_allclose(graph["observations"], problem.encoder(rows), rtol=0, atol=1e-6)
    expected = network.predict(problem.encoder(rows), deterministic=True)[0]
    heads = np.split(graph["logits"], np.cumsum(problem.nvec[:2]), axis=1)
    clear = np.ones(len(rows), dtype=bool)  # sums in another order may part choices that are equally likely
    for head in heads:
        best = np.sort(head, axis=1)[:, -2:]
        clear &= best[:, 1] - best[:, 0] > 1e-5
    assert clear.sum() >= 10_000
    assert np.array_equal(graph["choice"][clear], expected[clear])
    assert len(np.unique(expected, axis=0)) > 5


def test_pool_targets_and_actions_are_those_of_the_numpy_policy(
    rows: np.ndarray, artifact: Path, trained: Path, problem: Problem
) -> None:
    policy, ppo = Policy.load(artifact), PPOPolicy.load(trained)
    ppo.reset(problem, len(rows), np.zeros((len(rows), 3)), 0)
    graph, observations = policy.inspect(rows), problem.encoder(rows)
    np.testing.assert_allclose(graph["logits"], ppo.logits(observations), rtol=0, atol=1e-4)
    np.testing.assert_allclose(graph["gains"], ppo.pool.gains(observations), rtol=0, atol=1e-4)
    for _ in range(9):  # the pool is reviewed every seventh time
        assert (policy.act(rows) == ppo.act(Measurements(rows))).all(axis=1).mean() > 0.999


def test_a_whole_episode_is_the_same(artifact: Path, trained: Path, problem: Problem, traces: TraceSet) -> None:
    links = traces.split.test
    windows, weights = evaluation_windows(links, problem), problem.scenario.objective.weights
    mine = rollout(Policy.load(artifact).as_policy(), problem, links, windows, weights)
    theirs = rollout(PPOPolicy.load(trained), problem, links, windows, weights)
    np.testing.assert_array_equal(mine.actions, theirs.actions)
    np.testing.assert_array_equal(mine.terms, theirs.terms)
    assert mine.policy == "exported"


def test_the_policy_remembers_what_it_decided(artifact: Path, problem: Problem, traces: TraceSet) -> None:
    """Without the fields that follow from its decisions it fills in what the environment shows."""
    weights = problem.scenario.objective.weights
    simulator = Simulator(problem, traces.split.test, 1, weights=weights, windows=[Window(0)])
    row = simulator.reset(3).rows[0].copy()
    told, untold = Policy.load(artifact), Policy.load(artifact)
    for _ in range(40):
        decision = untold.decide(named(row, OWN_FIELDS))
        assert decision == told.decide(row)
        row = simulator.step(np.array([decision.indices])).rows[0].copy()
        shown = untold._own.fields()
        assert {name: named(row)[name] for name in OWN_FIELDS} == shown
    untold.reset()
    assert untold._own.fields()["placement"] == problem.start_action[0]


def test_decisions_are_in_the_fields_words(artifact: Path, problem: Problem, rows: np.ndarray) -> None:
    policy = Policy.load(artifact)
    decision = policy.decide(Measurements(rows[:1]))
    assert isinstance(decision, Decision)
    placement, threshold, route, target = decision.indices
    assert (decision.cut_device, decision.cut_edge) == tuple(problem.placements[placement])
    assert decision.threshold == threshold
    assert decision.threshold_value == problem.thresholds[threshold]
    assert decision.route == ("vm", "faas", "spill")[route]
    assert decision.vm_target == target
    assert policy.fields == tuple(field.name for field in SCHEMA)


def test_a_decision_takes_well_under_a_millisecond(artifact: Path, rows: np.ndarray) -> None:
    policy = Policy.load(artifact)
    fields = [named(row) for row in rows[:50]]
    taken = []
    for k in range(600):
        before = time.perf_counter()
        policy.decide(fields[k % 50])
        taken.append(time.perf_counter() - before)
    assert np.median(taken[100:]) < 0.7e-3  # about 0.1 ms; the machine may be busy


BAD = {
    "missing": ({"rtt_s": None}, "rtt_s: is missing: a number, unit s"),
    "misspelt": ({"rtt_s": None, "rtt_ms": 30.0}, "rtt_ms: is no measurement, and 'rtt_s' is missing.*'rtt_s'"),
    "superfluous": ({"battery_v": 1.0}, "battery_v: is no measurement.*did you mean 'battery'"),
    "nan": ({"edge_load": float("nan")}, "edge_load: must be finite"),
    "infinite slot": ({"rate_bps": [1e6, 1e6, float("inf"), 0.0]}, "rate_bps: must be finite"),
    "size": ({"rate_bps": [1e6, 1e6]}, "rate_bps: must be 4 numbers"),
    "scalar for several": ({"weights": 1.0}, "weights: must be 3 numbers"),
    "several for scalar": ({"rtt_s": [0.1, 0.2]}, "rtt_s: must be a number"),
    "text": ({"rtt_s": "soon"}, "rtt_s: must be a number"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_measurements_are_named(case: str, artifact: Path, rows: np.ndarray) -> None:
    changes, message = BAD[case]
    fields = {name: value for name, value in {**named(rows[0]), **changes}.items() if value is not None}
    policy = Policy.load(artifact)
    with pytest.raises(InputError, match=message):
        policy.decide(fields)
    assert policy._t == 0  # a refused row counts for nothing


@pytest.mark.parametrize("wrong", [np.zeros(5), np.zeros((2, width())), np.full(width(), np.nan), "x", None])
def test_wrong_rows_are_refused(wrong: Any, artifact: Path) -> None:
    with pytest.raises(InputError, match="measurements"):
        Policy.load(artifact).decide(wrong)


def test_out_of_range_columns_are_held_within_the_tables(artifact: Path, rows: np.ndarray, problem: Problem) -> None:
    row = named(rows[0])
    row.update(placement=1e9, route=-5.0, threshold=99.0, vm_target=77.0)
    assert (np.array(Policy.load(artifact).decide(row).indices) < problem.nvec).all()


def test_another_problem_is_refused(artifact: Path, traces: TraceSet) -> None:
    other = shortened(61)
    policy = Policy.load(artifact).as_policy()
    with pytest.raises(InputError, match="must be trained on the scenario in use"):
        policy.reset(other, 1, np.ones((1, 3)) / 3, 0)
    Policy.load(artifact).as_policy(any_problem=True).reset(other, 1, np.ones((1, 3)) / 3, 0)
    gateway, anything = shortened(60, "gateway-5g"), Policy.load(artifact).as_policy(any_problem=True)
    with pytest.raises(InputError, match=r"actions: must be \[28, 7, 3, 5\]"):
        anything.reset(gateway, 1, np.ones((1, 3)) / 3, 0)


def test_threads_share_a_policy(artifact: Path, rows: np.ndarray) -> None:
    policy, seen = Policy.load(artifact), []

    def ask() -> None:
        seen.extend(policy.decide(rows[k]) for k in range(50))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 200
    assert policy._t == 200


BLOCKER = """
    import importlib.abc, sys

    class Blocker(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in {blocked!r}:
                raise ImportError(f"{{name}} is blocked")

    sys.meta_path.insert(0, Blocker())
"""
BLOCKED = {
    "torch", "stable_baselines3", "gymnasium", "numba", "pydantic", "pandas", "scipy", "matplotlib", "typer", "rich",
    "jinja2", "joblib", "moocore", "tensorboard", "onnx", "grpc", "msgpack", "structlog", "prometheus_client",
    "cryptography", "transformers", "networkx",
}  # fmt: skip


def alone(code: str, *arguments: str) -> str:
    """Run a program that has numpy and onnxruntime only."""
    text = textwrap.dedent(BLOCKER.format(blocked=BLOCKED)) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", text, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def example() -> str:
    """The five lines of the documentation."""
    text = (ROOT / "docs" / "runtime-policy.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    return next(block for block in blocks if "Policy.load" in block)


def test_the_documented_example_runs_with_numpy_and_onnxruntime_only(
    artifact: Path, rows: np.ndarray, tmp_path: Path
) -> None:
    code = example()
    assert len([line for line in code.splitlines() if line.strip()]) <= 5
    (tmp_path / "row.json").write_text(json.dumps(named(rows[0], OWN_FIELDS)), encoding="utf-8")
    (tmp_path / "policy.edgecloud").write_bytes(artifact.read_bytes())
    program = f"""
        import json, os, sys
        os.chdir(sys.argv[1])
        measurements = json.load(open("row.json"))
        exec({code!r})
        print(json.dumps(decision.indices))
        assert not {BLOCKED!r} & {{name.split(".")[0] for name in sys.modules}}
        print(sorted(name for name in sys.modules if name.startswith("edgecloud.")))
    """
    printed = alone(program, str(tmp_path)).splitlines()
    expected = Policy.load(artifact).decide(named(rows[0], OWN_FIELDS))
    assert json.loads(printed[-2]) == list(expected.indices)
    assert "edgecloud.envs" not in printed[-1]


def test_the_package_is_lazy_and_complete() -> None:
    """Every public name of the package is there, and gymnasium knows the environments after `import edgecloud`."""
    code = """
        import sys, edgecloud
        assert "edgecloud.envs" not in sys.modules and "torch" not in sys.modules
        import gymnasium
        assert set(edgecloud.ENV_IDS) <= set(gymnasium.registry)
        for name in edgecloud.__all__:
            getattr(edgecloud, name)
        from edgecloud import Policy, rollout, compile_problem
        from edgecloud.envs import Policy as Same, rollout as same
        assert Policy is Same and rollout is same and callable(rollout)
        assert edgecloud.traces.LinkTrace and edgecloud.runtime.Policy is not Policy
        try:
            edgecloud.nothing
        except AttributeError:
            print("ok")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip() == "ok", done.stderr
