"""The checks of several ranks in one trial: what each takes, and that every batch splits over them."""

from __future__ import annotations

from kdstudy.study.diagnostics import Place, Problems, show
from kdstudy.study.space import Choice, Int
from kdstudy.study.validate import Parsed


def check_ranks(parsed: Parsed, problems: Problems) -> None:
    """Note what ranks cannot do, and GPUs that a trial would reserve and not use."""
    resources, place = parsed.get("resources", {}), Place().key("resources")
    gpus, ranks, pack = (resources.get(key, default) for key, default in (("gpus", 0), ("ranks", 1), ("pack", "off")))
    if gpus > 1 and gpus == int(gpus):
        total = int(gpus) * ranks
        problems.add(
            place.key("gpus"),
            f"one rank of a trial trains on one GPU at most, got {int(gpus)}; write gpus: 1 and ranks: {total} for a "
            "trial on all of them, or gpus: 1 alone: trials run side by side on several GPUs",
        )
    if ranks == 1:
        return
    if 0 < gpus < 1:
        problems.add(place.key("gpus"), f"each of several ranks takes a GPU of its own, got {gpus:g}; write 1, or 0")
    graph = parsed.get("numerics", {}).get("graph", "off")
    if graph != "off":
        told = f"a pass in which ranks wait for each other cannot be compiled, got {graph}; write off"
        problems.add(Place().key("numerics").key("graph"), told)
    if pack != "off":
        problems.add(place.key("pack"), f"trials of several ranks train alone, got {show(pack)}; write off")
    _check_batches(parsed, ranks, problems)


def _check_batches(parsed: Parsed, ranks: int, problems: Problems) -> None:
    """Refuse batch sizes of which one that may be drawn would not give every rank as many images."""
    size = parsed.get("train", {}).get("batch_size")
    if size is None:
        return
    drawn = size.options if isinstance(size, Choice) else () if isinstance(size, Int) else (size,)
    wrong = next((each for each in drawn if isinstance(each, int) and each % ranks), None)
    if wrong is None and not isinstance(size, Int):
        return
    got = f"{size.low} to {size.high}" if isinstance(size, Int) else show(wrong)
    near = max(round((wrong or size.low) / ranks), 1) * ranks
    remedy = f"a choice such as [{near}, {2 * near}]" if isinstance(size, Int) else str(near)
    problems.add(
        Place().key("train").key("batch_size"),
        f"must split over {ranks} ranks, as many images for each, got {got}; write {remedy}",
    )
