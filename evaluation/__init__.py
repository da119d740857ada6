"""Policies on held-out traces: common random numbers, statistics, tables, the report, the analysis of a scenario."""

from .analysis import Analysis, analyse
from .bounds import bracket, load_bracket, save_bracket
from .branching import BestActions, branch
from .causal import causal_bounds
from .comparison import compare, decision_time_s
from .drawn import DrawnEpisode, draw_episodes, load_episodes, save_episodes
from .fixed import BEST_FIXED, FixedByWeights, FixedSearch, describe_action, distinct_actions, search_fixed
from .improvement import Profile, improvement_probability, mann_whitney, performance_profile
from .load import Load, load_of
from .markdown import write_section
from .metrics import METRICS, Metric, episode_metrics, histogram_quantile_s
from .pareto import Front, Point, hypervolume, pareto_front, points_of
from .regret import Bracket, Regret, regret_of
from .report import write_report
from .resolve import resolve_methods, resolve_policy, resolve_weights
from .results_page import results_text
from .scores import ActionCounts, Comparison, EpisodeLabel, Method, Run
from .standing import Standing, profiles_of, standings_of
from .statistics import Estimate, Paired, estimate, interquartile_mean, paired_difference
from .storage import load_comparison, save_comparison
from .summary import ActionShares, Row, action_shares, mode_values, reference_method, rows_of
from .sweep import Sweep, run_sweep
from .sweep_plan import Plan, plan_sweep
from .tables import print_table, summary_table

__all__ = [
    "BEST_FIXED",
    "METRICS",
    "ActionCounts",
    "ActionShares",
    "Analysis",
    "BestActions",
    "Bracket",
    "Comparison",
    "DrawnEpisode",
    "EpisodeLabel",
    "Estimate",
    "FixedByWeights",
    "FixedSearch",
    "Front",
    "Load",
    "Method",
    "Metric",
    "Paired",
    "Plan",
    "Point",
    "Profile",
    "Regret",
    "Row",
    "Run",
    "Standing",
    "Sweep",
    "action_shares",
    "analyse",
    "bracket",
    "branch",
    "causal_bounds",
    "compare",
    "decision_time_s",
    "describe_action",
    "distinct_actions",
    "draw_episodes",
    "episode_metrics",
    "estimate",
    "histogram_quantile_s",
    "hypervolume",
    "improvement_probability",
    "interquartile_mean",
    "load_bracket",
    "load_comparison",
    "load_episodes",
    "load_of",
    "mann_whitney",
    "mode_values",
    "paired_difference",
    "pareto_front",
    "performance_profile",
    "plan_sweep",
    "points_of",
    "print_table",
    "profiles_of",
    "reference_method",
    "regret_of",
    "resolve_methods",
    "resolve_policy",
    "resolve_weights",
    "results_text",
    "rows_of",
    "run_sweep",
    "save_bracket",
    "save_comparison",
    "save_episodes",
    "search_fixed",
    "standings_of",
    "summary_table",
    "write_report",
    "write_section",
]
