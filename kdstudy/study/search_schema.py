"""The sections `search` and `confirm` of the study file: how values are found, and what gives the verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Len, Lt, MinLen

from kdstudy.study.fields import Key
from kdstudy.study.plugin_spec import PluginSpec

Comparisons = tuple[tuple[str, str], ...]
MAX_SEARCHES = 1000
MIN_SEARCHES = 3
"""With fewer there is never a verdict on a policy."""
MAX_LOOKS = 20
"""The most searches of which each may be looked at: see `kdstudy.analysis.looks`."""


@dataclass(frozen=True)
class SearchConfig:
    """Section ``search``."""

    trials_per_arm: Annotated[
        Annotated[int, Ge(1), Le(1_000_000)] | None, Key("Trials of each arm in one search; give this or `budget`.", 20)
    ] = None
    budget: Annotated[
        Annotated[dict[Literal["trials", "hours", "gpu_hours"], Annotated[float, Gt(0)]], Len(1, 1)] | None,
        Key(
            "What all searches of all arms together may take, divided equally: `{trials: N}`, or `{hours: H}` or "
            "`{gpu_hours: H}` of trials' own time; give this or `trials_per_arm`.",
            {"trials": 80},
        ),
    ] = None
    sampler: Annotated[PluginSpec, Key("How values are proposed.", "tpe", plugin="sampler")] = field(
        default_factory=lambda: PluginSpec("tpe")
    )
    pruner: Annotated[
        PluginSpec, Key("Whether and how poor search trials are stopped early.", "none", plugin="pruner")
    ] = field(default_factory=lambda: PluginSpec("none"))
    startup: Annotated[
        Annotated[int, Ge(0)] | None,
        Key(
            "Random trials before the sampler proposes, at most half of an arm's trials; null for that half, at most "
            "10 (10 where hours are the budget).",
            5,
        ),
    ] = None
    lag: Annotated[
        Annotated[int, Ge(1)] | None,
        Key(
            "Trials of one arm in flight at once: a proposal sees all but the last `lag` trials of its arm; "
            "null for what the cluster holds. Fix it to get the same proposals on any cluster.",
            2,
        ),
    ] = None

    together: Annotated[
        tuple[str, ...],
        Key(
            "Searched values in which the policies of a transfer go together: they try the same draws, and the draw "
            "with the best mean validation score over them serves all. Compares policies at equal values; takes a "
            "sampler that does not learn.",
            ["train.base_lr"],
        ),
    ] = ()

    @property
    def startup_trials(self) -> int:
        """Random trials at the start of each arm."""
        if self.startup is not None:
            return self.startup
        return 10 if self.trials_per_arm is None else min(self.trials_per_arm // 2, 10)


@dataclass(frozen=True)
class ConfirmConfig:
    """Section ``confirm``."""

    searches: Annotated[
        int,
        Ge(1),
        Le(MAX_SEARCHES),
        Key(
            "Times that the whole search is repeated, each with a split, draws and seeds of its own. The unit of the "
            "verdict: none of a policy below 3, and a fair one from 5 on.",
            5,
        ),
    ] = 1
    seeds: Annotated[
        int,
        Ge(0),
        Le(10_000),
        Key(
            "Fresh paired seeds on which what each search picked for each arm is run again and scored on test; 0 for "
            "none. 2 are enough where `searches` repeats.",
            2,
        ),
    ] = 3
    at_most: Annotated[
        Annotated[int, Ge(MIN_SEARCHES), Le(MAX_LOOKS)] | None,
        Key(
            "Searches that may be added later, those above included, and still count: the p values then allow for "
            "looking after each; null for none but `searches`.",
            12,
        ),
    ] = None
    smallest: Annotated[
        Annotated[float, Gt(0), Lt(100)] | None,
        Key("Smallest difference that would matter to you, in points; null to test for no difference at all.", 0.5),
    ] = None
    comparisons: Annotated[
        Annotated[Comparisons, MinLen(1)] | None,
        Key(
            "What the verdicts are about, as pairs [treatment arm, baseline arm]; null for every policy against "
            "`constant` of the same transfer.",
            [["attention/layerwise", "attention/constant"]],
        ),
    ] = None

    @property
    def declared(self) -> int:
        """Searches that may count for the verdict; any beyond are exploratory."""
        return self.at_most or self.searches
