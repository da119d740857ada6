"""Policies on held-out traces: common random numbers, statistics, tables, the report, the analysis of a scenario."""

from .analysis import Analysis, analyse
from .bounds import bracket, load_bracket, save_bracket
from .branching import BestActions, branch
from .comparison import compare, decision_time_s
from .drawn import DrawnEpisode, draw_episodes, load_episodes, save_episodes
from .fixed import (
    BEST_FIXED,
    FixedByWeights,
    FixedSearch,
    describe_action,
    distinct_actions,
    search_fixed,
)
from .load import Load, load_of
from .metrics import METRICS, Metric, episode_metrics, histogram_quantile_s
from .regret import Bracket, Regret, regret_of
from .report import write_report
from .resolve import resolve_methods, resolve_policy, resolve_weights
from .scores import ActionCounts, Comparison, EpisodeLabel, Method, Run
from .statistics import Estimate, Paired, estimate, interquartile_mean, paired_difference
from .storage import load_comparison, save_comparison
from .summary import ActionShares, Row, action_shares, mode_values, reference_method, rows_of
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
    "Load",
    "Method",
    "Metric",
    "Paired",
    "Regret",
    "Row",
    "Run",
    "action_shares",
    "analyse",
    "bracket",
    "branch",
    "compare",
    "decision_time_s",
    "describe_action",
    "distinct_actions",
    "draw_episodes",
    "episode_metrics",
    "estimate",
    "histogram_quantile_s",
    "interquartile_mean",
    "load_bracket",
    "load_comparison",
    "load_episodes",
    "load_of",
    "mode_values",
    "paired_difference",
    "print_table",
    "reference_method",
    "regret_of",
    "resolve_methods",
    "resolve_policy",
    "resolve_weights",
    "rows_of",
    "save_bracket",
    "save_comparison",
    "save_episodes",
    "search_fixed",
    "summary_table",
    "write_report",
]
