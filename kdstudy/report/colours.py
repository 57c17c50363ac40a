"""One colour per arm, the same in every figure: the hue tells the transfer, the shade tells the policy.

Figures never hold a colour but the name of one, ``var(--arm-0)``; the page looks it up for its theme.
"""

from __future__ import annotations

from collections.abc import Sequence

from kdstudy.study import ArmId

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
# Layers run from the first (dark) to the last (light), as depth does.
_DEPTH_LIGHT = ("#3b2a6b", "#35608d", "#21908c", "#5cb85f", "#c4b517")
_DEPTH_DARK = ("#8f7fd6", "#5f9bd1", "#35b7b0", "#7fd17f", "#f0e04a")


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


def depth_colours(layers: int) -> list[tuple[str, str]]:
    """Return a colour per layer, in order of depth, on light and on dark paper."""
    if layers == 1:
        return [(_DEPTH_LIGHT[0], _DEPTH_DARK[0])]
    places = [position / (layers - 1) * (len(_DEPTH_LIGHT) - 1) for position in range(layers)]
    return [(_between(_DEPTH_LIGHT, place), _between(_DEPTH_DARK, place)) for place in places]


def _between(scale: Sequence[str], place: float) -> str:
    low = min(int(place), len(scale) - 2)
    share = place - low
    pairs = zip(_channels(scale[low]), _channels(scale[low + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def _channels(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[start : start + 2], 16) for start in (1, 3, 5))
