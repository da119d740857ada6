"""The decision problem: scenario, kernel, environments, observation encoder and the policy interface."""

from .encoder import Encoder
from .measure import SCHEMA, Measurements
from .policy import Action, Policy, Rule
from .problem import ROUTES, Problem, compile_problem
from .rollout import Episodes, evaluation_windows, rollout
from .scenario import DEFAULT_SCENARIO, Scenario, list_scenarios, load_scenario
from .simulator import Simulator, Window
from .single import EdgeCloudEnv
from .state import RECORD_FIELDS, TERMS, Bank, Params, State
from .vector import EdgeCloudVecEnv

__all__ = [
    "DEFAULT_SCENARIO",
    "RECORD_FIELDS",
    "ROUTES",
    "SCHEMA",
    "TERMS",
    "Action",
    "Bank",
    "EdgeCloudEnv",
    "EdgeCloudVecEnv",
    "Encoder",
    "Episodes",
    "Measurements",
    "Params",
    "Policy",
    "Problem",
    "Rule",
    "Scenario",
    "Simulator",
    "State",
    "Window",
    "compile_problem",
    "evaluation_windows",
    "list_scenarios",
    "load_scenario",
    "rollout",
]
