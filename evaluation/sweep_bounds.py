"""The bracket of what is possible for every preference of a large comparison, and every policy's regret against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import joblib
import numpy as np
from numpy.typing import NDArray

from ..baselines.clairvoyant import BUDGET
from .bounds import bracket, load_bracket, save_bracket
from .markdown import table
from .regret import Bracket
from .scores import Comparison, Run
from .statistics import Estimate, estimate
from .sweep import Sweep
from .sweep_plan import Plan

__all__ = ["brackets_of", "load_brackets", "recovered", "regret_text"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def brackets_of(
    sweep: Sweep,
    folder: Path,
    *,
    budget: int = BUDGET,
    jobs: int = 1,
    progress: Callable[[str, float, float], None] | None = None,
) -> dict[str, Bracket]:
    """Bracket every preference; the planner starts from what every policy of the comparison did.

    The plan is therefore at least as good as each policy in each episode. Every finished episode is kept, so that a
    killed one goes on.

    Args:
        sweep: The finished comparison.
        folder: Receives `bracket-NAME.npz` and the episodes.
        budget: Intervals that the planner may simulate per episode.
        jobs: Processes.
        progress: Called with a text, preferences done and in all.
    """
    plan, names = sweep.plan, list(sweep.plan.presets)
    given = {name: [sweep.actions(run.method, name, run.member) for run in _runs(sweep, name)] for name in names}
    if progress is not None:
        progress("bounds", 0, len(names))
    calls = [joblib.delayed(_bracket)(plan, name, given[name], folder, budget) for name in names]
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        results = joblib.Parallel(n_jobs=min(jobs, len(calls)), return_as="generator_unordered")(calls)
        for done, name in enumerate(results, 1):
            if progress is not None:
                progress(f"bounds {name}", done, len(names))
    return load_brackets(sweep.comparison, folder)


def load_brackets(comparison: Comparison, folder: Path) -> dict[str, Bracket]:
    """The brackets of a comparison that a folder holds, by preference.

    A bracket of another problem, seed, preference or number of episodes is left out.
    """
    found = {}
    for name, weights in comparison.presets.items():
        path = folder / f"bracket-{name}.npz"
        if not path.is_file():
            continue
        one = load_bracket(path)
        same = (one.seed, one.fingerprint) == (comparison.seed, comparison.facts["fingerprint"])
        if same and len(one.windows) == len(comparison.episodes) and np.allclose(one.weights, weights):
            found[name] = one
    return found


def recovered(comparison: Comparison, bracket: Bracket, weights_name: str, method: str) -> tuple[str, float]:
    """How much of what separates the best rule from the plan a method recovers: 0 is the rule, 1 the plan.

    Returns:
        The best rule (neither an agent nor chosen in hindsight) and the share.
    """
    rules = [m for m in comparison.methods if m not in comparison.learned and m != "best-fixed" and m != method]
    best = max(rules, key=lambda m: float(comparison.scores(m, weights_name).mean()))
    rule = float(comparison.scores(best, weights_name).mean())
    gap = float(bracket.reward.mean()) - rule
    return best, (float(comparison.scores(method, weights_name).mean()) - rule) / gap if gap > 0.0 else np.nan


def regret_text(comparison: Comparison, brackets: Mapping[str, Bracket]) -> dict[str, str]:
    """A section on regret for every preference that has a bracket, in Markdown."""
    return {name: _section(comparison, name, found) for name, found in brackets.items()}


def _section(comparison: Comparison, name: str, bracket: Bracket) -> str:
    rng = np.random.default_rng(comparison.seed)
    head = ["policy", "regret to the plan", "regret to the relaxation", "ms", "$/1000", "leakage"]
    plan = [1e3 * bracket.units[:, 0].mean(), bracket.units[:, 1].mean(), bracket.units[:, 2].mean()]
    relaxed = estimate(bracket.relaxed - bracket.reward, comparison.traces, rng, strata=comparison.strata)
    cells = [f"{plan[0]:.0f}", f"{plan[1]:.4f}", f"{plan[2]:.3f}"]
    rows = [[f"clairvoyant plan ({bracket.reward.mean():.3f})", "0", _text(relaxed), *cells]]
    ranked = sorted(comparison.methods, key=lambda m: -float(comparison.scores(m, name).mean()))
    for method in ranked:
        scores = comparison.scores(method, name)
        to_plan, to_relaxed = (
            estimate(bound - scores, comparison.traces, rng, strata=comparison.strata)
            for bound in (bracket.reward, bracket.relaxed)
        )
        units = [value - base for value, base in zip(_units(comparison, method, name), plan, strict=True)]
        cells = [f"{units[0]:+.0f}", f"{units[1]:+.4f}", f"{units[2]:+.3f}"]
        rows.append([method, _text(to_plan), _text(to_relaxed), *cells])
    text = (
        "Regret: reward lacking of a clairvoyant plan, which was possible, and of a relaxation, which nobody exceeds "
        f"({bracket.relaxed.mean():.3f}). Milliseconds, dollars and leakage are the plan's in its row and differences "
        "to it in the others, as the reward counts them (the mean over intervals)."
    )
    sentences = []
    for method in comparison.learned:
        rule, share = recovered(comparison, bracket, name, method)
        whole = f"of what separates the best rule ({rule}) from the plan"
        part = (
            f"recovers {100 * share:.0f} % {whole}"
            if share >= 0.0
            else f"recovers nothing {whole}: it is behind the rule"
        )
        sentences.append(f"{method} {part}.")
    return "\n\n".join([text, table(head, rows), *sentences])


def _units(comparison: Comparison, method: str, name: str) -> tuple[float, float, float]:
    """Milliseconds, dollars per thousand requests and leakage as the bracket counts them."""
    latency, _, privacy = comparison.presets[name]
    reference_s = float(str(comparison.facts["latency_ref_s"]))
    seconds, leakage = (
        -float(comparison.scores(method, name, column).mean()) / weight if weight > 0.0 else np.nan
        for column, weight in (("reward_latency", latency), ("reward_privacy", privacy))
    )
    return 1e3 * seconds * reference_s, float(comparison.scores(method, name, "usd_per_1000").mean()), leakage


def _text(value: Estimate) -> str:
    return f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _runs(sweep: Sweep, name: str) -> list[Run]:
    return [run for run in sweep.comparison.runs if run.weights_name == name]


def _bracket(plan: Plan, name: str, given: list[Ints], folder: Path, budget: int) -> str:
    """Bracket one preference and keep it."""
    found = bracket(
        plan.problem,
        plan.traces,
        plan.windows,
        plan.presets[name],
        plan.seed,
        given,
        budget=budget,
        checkpoint=folder / "episodes",
    )
    save_bracket(found, folder / f"bracket-{name}.npz")
    return name
