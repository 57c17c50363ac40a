"""Do a study's multipliers follow their signals, and which run to their bounds? From the report's JSON, on stdin.

    kdstudy report ID --format json | python benchmarks/signals.py

Printed for each arm that moves its rates: divergence over chance and multiplier of each layer at the first and at the
last update; the correlation, over layers and updates, of the log multiplier with the signal recorded at the update,
both less their mean over layers; and how many multipliers lay at a bound, the default ones, at the last update. Curves
are means over the confirmation runs: use it on a study of one search and one seed.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from statistics import correlation, fmean
from typing import Any

from kdstudy.results import markdown_table

LOW, HIGH, NEAR = 0.25, 4.0, 1e-6

Curves = Mapping[str, Mapping[str, Sequence[float]]]
"""By quantity, then by layer: one number per update."""


def main(document: Mapping[str, Any]) -> None:
    """Print both tables."""
    (study,) = document["studies"]
    arms = list(dict.fromkeys(curve["arm"] for curve in study["layers"]))
    layers, rules = [], []
    for arm in arms:
        curves: dict[str, dict[str, Sequence[float]]] = {}
        for curve in study["layers"]:
            if curve["arm"] == arm:
                curves.setdefault(curve["quantity"], {})[curve["layer"]] = curve["mean"]
        layers += [[arm, name, *ends(curves, name)] for name in curves["multiplier"]]
        rules.append([arm, *follows(curves)])
    print(markdown_table(["arm", "layer", "d / c, first", "d / c, last", *(f"x, {end}" for end in SHOWN)], layers))
    print(markdown_table(["arm", "updates", "correlation of log x and signal", "at a bound at the end"], rules))


SHOWN = ("first", "middle", "last")


def ends(curves: Curves, name: str) -> list[str]:
    """Return divergence over chance and multiplier of one layer as the table shows them."""
    ratio, alpha = curves["divergence_over_chance"][name], curves["multiplier"][name]
    shown = (ratio[0], ratio[-1], alpha[0], alpha[len(alpha) // 2], alpha[-1])
    return [f"{value:.2f}" for value in shown]


def follows(curves: Curves) -> list[str]:
    """Return the number of updates, the correlation of log multipliers with signals, and the share at a bound."""
    signals = [centred(each) for each in zip(*curves["momentum"].values(), strict=True)]
    logs = [centred([math.log(x) for x in each]) for each in zip(*curves["multiplier"].values(), strict=True)]
    last = [alpha[-1] for alpha in curves["multiplier"].values()]
    bound = sum(alpha < LOW + NEAR or alpha > HIGH - NEAR for alpha in last)
    value = correlation([x for each in logs for x in each], [x for each in signals for x in each])
    return [str(len(logs)), f"{value:.2f}", f"{bound} of {len(last)}"]


def centred(values: Sequence[float]) -> list[float]:
    """Return the distances from the mean."""
    mean = fmean(values)
    return [value - mean for value in values]


if __name__ == "__main__":
    main(json.load(sys.stdin))
