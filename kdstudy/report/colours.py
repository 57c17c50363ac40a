"""One colour per layer, by depth, the same in every figure; those of arms are `kdstudy.study.arm_colours`.

Figures never hold a colour but the name of one, ``var(--arm-0)``; the page looks it up for its theme.
"""

from __future__ import annotations

from collections.abc import Sequence

# Layers run from the first (dark) to the last (light), as depth does.
_DEPTH_LIGHT = ("#3b2a6b", "#35608d", "#21908c", "#5cb85f", "#c4b517")
_DEPTH_DARK = ("#8f7fd6", "#5f9bd1", "#35b7b0", "#7fd17f", "#f0e04a")


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
