"""One colour per arm, the same in the report and in MLflow: the hue tells the transfer, the shade tells the policy."""

from __future__ import annotations

from collections.abc import Sequence

from kdstudy.study.arm_id import ArmId

# Per hue: the strong and the soft shade, on light paper and on dark. Chosen to differ in lightness as well as
# hue, so that they can be told apart without colour vision.
_HUES = (
    ("#1f6feb", "#8db4f2", "#79a8ff", "#3d62a8"),  # blue
    ("#c2571a", "#e8b08c", "#f0955a", "#95542e"),  # orange
    ("#0f8a6a", "#86c9b5", "#4cc9a4", "#2a7561"),  # green
    ("#8445b8", "#c6a5e0", "#bf8cf0", "#6d4691"),  # violet
    ("#b3294e", "#e39fb1", "#f0718f", "#8c3a50"),  # red
    ("#5b6b1e", "#b3bf86", "#aebf5a", "#606b33"),  # olive
    ("#0b7a94", "#83bfcd", "#4fb8d1", "#2b6b7a"),  # teal
    ("#7a5c3e", "#c2ab95", "#c9a27a", "#75603f"),  # brown
)
CONSTANT = "constant"


def arm_colours(arms: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the colour of each arm on light and on dark paper.

    Args:
        arms: ``transfer/policy``, each once. The constant rate takes the soft shade; of further policies every
            other one moves on to a hue of its own.
    """
    colours: dict[str, tuple[str, str]] = {}
    hues: dict[tuple[str, int], int] = {}
    placed: dict[str, int] = {}
    for arm in arms:
        transfer, policy = ArmId.parse(arm)
        rank = 0 if policy == CONSTANT else placed.setdefault(transfer, 0)
        if policy != CONSTANT:
            placed[transfer] += 1
        hue = _HUES[hues.setdefault((transfer, rank), len(hues)) % len(_HUES)]
        colours[arm] = (hue[1], hue[3]) if policy == CONSTANT else (hue[0], hue[2])
    return colours
