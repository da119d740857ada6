from pathlib import Path

import numpy as np
import pytest

from edgecloud.agents import PPOPolicy, write_checkpoint
from edgecloud.agents.pool import PoolNetwork
from edgecloud.agents.ppo_policy import network_shapes
from edgecloud.baselines import list_policies
from edgecloud.envs import Problem, load_scenario
from edgecloud.errors import InputError
from edgecloud.evaluation import resolve_methods, resolve_policy, resolve_weights
from edgecloud.evaluation.resolve import split_specs


def checkpoint(problem: Problem, path: Path, seed: int, fingerprint: str = "") -> Path:
    """A network that was never trained."""
    size, nvec = problem.encoder.size, problem.nvec.tolist()
    rng = np.random.default_rng(seed)
    named = {f"policy/{name}": shape for name, shape in network_shapes(size, (8,), sum(nvec[:3])).items()}
    named |= {f"pool/{name}": shape for name, shape in PoolNetwork.shapes(size, 4, nvec[3]).items()}
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in named.items()}
    meta = {
        "kind": "ppo",
        "fingerprint": fingerprint or problem.fingerprint(),
        "scenario": problem.scenario.name,
        "steps": 0,
        "hidden": [8],
        "activation": "tanh",
        "nvec": nvec,
        "observation_size": size,
        "private": 0,
        "pool_review": 10,
        "pool_hidden": 4,
        "pool_margin": 0.0,
        "seed": seed,
    }
    path.mkdir(parents=True)
    write_checkpoint(path / "best.npz", meta, arrays)
    return path


def test_all_is_every_shipped_rule_and_the_best_constant() -> None:
    methods, fixed = resolve_methods([])
    assert {method.name for method in methods} == set(list_policies())
    assert fixed
    assert not any(method.learned for method in methods)
    assert resolve_methods([], "none") == ((), False)


def test_several_runs_are_one_method(problem: Problem, tmp_path: Path) -> None:
    first, second = (checkpoint(problem, tmp_path / f"run{seed}", seed) for seed in (4, 9))
    methods, fixed = resolve_methods([str(first), str(second / "best.npz"), f"other={first}"], "always-device")
    assert not fixed
    assert [(m.name, m.labels, m.learned) for m in methods] == [
        ("ppo", ("seed 4", "seed 9"), True),
        ("other", ("seed 4",), True),
        ("always-device", ("always-device",), False),
    ]
    assert all(isinstance(member, PPOPolicy) for member in methods[0].members)


def test_a_rule_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from edgecloud.envs import Action, Rule\n"
        "class Mine(Rule):\n"
        "    name = 'mine'\n"
        "    def decide(self, measured):\n"
        "        return Action(0, self.problem.stages, 0, 'faas', 0)\n"
    )
    assert resolve_policy(f"{file}:Mine").name == "mine"


def test_options_keep_their_commas() -> None:
    assert split_specs(" dp , neurosurgeon,") == ["dp", "neurosurgeon"]
    assert split_specs("dp:horizon=3,margin=0.1") == ["dp:horizon=3,margin=0.1"]


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ("neurosurgoen", "did you mean 'neurosurgeon'"),
        ("best-fxed", "did you mean 'best-fixed'"),
        ("runs/absent", "must be a run folder"),
        ("absent.npz", "does not exist"),
    ],
)
def test_unknown_policies_are_named(spec: str, part: str) -> None:
    with pytest.raises(InputError, match=part):
        resolve_policy(spec)


def test_weights_by_name_or_number() -> None:
    scenario = load_scenario("camera-lte")
    assert list(resolve_weights("all", scenario)) == ["default", "latency-heavy", "cost-heavy", "privacy-heavy"]
    assert resolve_weights("default", scenario) == {"default": scenario.objective.weights}
    assert resolve_weights("0.5, 0.3, 0.2", scenario) == {"0.5,0.3,0.2": (0.5, 0.3, 0.2)}
    for text, part in (("latncy-heavy", "did you mean 'latency-heavy'"), ("0.9,0.9,0.9", "sum to 1"), ("", "presets")):
        with pytest.raises(InputError, match=part):
            resolve_weights(text, scenario)
