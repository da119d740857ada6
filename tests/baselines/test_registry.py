"""Policies by name, and a user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecloud.baselines import list_policies, load_policy
from edgecloud.envs import Policy
from edgecloud.errors import InputError

OWN = """
from edgecloud.envs import Action, Rule

class Mine(Rule):
    def __init__(self, threshold: int = 0, eager: bool = False):
        self.threshold, self.eager = threshold, eager

    def decide(self, measured):
        return Action(0, self.problem.stages, self.threshold, "faas", 0)

class NotARule:
    pass

class Unfinished(Rule):
    pass
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return path


def test_every_name_makes_a_policy_called_by_it():
    for name, about in list_policies().items():
        policy = load_policy(name)
        assert isinstance(policy, Policy)
        assert policy.name == name
        assert about


def test_a_file_of_ones_own(own: Path):
    policy = load_policy(f"{own}:Mine")
    assert policy.name == "Mine"
    chosen = load_policy(f"{own}:Mine:threshold=2,eager=true")
    assert (chosen.threshold, chosen.eager) == (2, True)


def test_a_module_of_ones_own(own: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(own.parent))
    assert load_policy("mine:Mine").name == "Mine"


def test_the_shipped_example(repo_root: Path):
    assert load_policy(f"{repo_root}/examples/my_rule.py:QueueAware").name == "queue-aware"


def test_options_reach_the_constructor():
    policy = load_policy("dp:horizon=3,vms=1,rate=min")
    assert policy.name == "dp:horizon=3,vms=1,rate=min"
    assert (policy._horizon, policy._vms, policy._rate[0]) == (3, 1, "min")


@pytest.mark.parametrize(
    ("spec", "fragment"),
    [
        ("neurosurgoen", "did you mean 'neurosurgeon'"),
        ("dpp", "did you mean 'dp'"),
        ("dp:horizn=3", "did you mean 'horizon'"),
        ("dp:horizon=soon", "of type int"),
        ("dp:horizon", "key=value"),
        ("random:x=1", "no options"),
        ("neurosurgeon:server=cloud", "must be a server"),
        ("dp:rate=lst", "did you mean 'last'"),
        ("dp:arrivals=fliter", "did you mean 'filter'"),
        ("no.such.module:Rule", "cannot be imported (ModuleNotFoundError"),
        ("missing.py:Rule", "must name a file that exists"),
        ("../etc:Rule", "must be a known policy"),
    ],
)
def test_bad_specifications_are_one_line(spec: str, fragment: str):
    with pytest.raises(InputError) as error:
        load_policy(spec)
    assert fragment in str(error.value)
    assert "\n" not in str(error.value)


def test_classes_that_are_no_policies(own: Path):
    for name, fragment in (
        ("Min", "did you mean 'Mine'"),
        ("NotARule", "derives from"),
        ("Unfinished", "derives from"),
    ):
        with pytest.raises(InputError, match=fragment):
            load_policy(f"{own}:{name}")
    with pytest.raises(InputError, match="no_such"):
        load_policy(f"{own}:Mine:no_such=1")


def test_a_file_with_an_error(tmp_path: Path):
    path = tmp_path / "broken.py"
    path.write_text("def f(:\n")
    with pytest.raises(InputError, match="SyntaxError"):
        load_policy(f"{path}:Rule")
