"""A trial's share of a GPU: how much of its memory it may take, and what is refused before it is copied there."""

from __future__ import annotations

import pytest
import torch

from kdstudy.errors import ClusterError
from kdstudy.training import choose_device, require_room

GB = 10**9
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize(("gpus", "share"), [(0.25, 0.25), (1.0, 1.0), (2.0, 1.0)])
def test_each_choice_of_a_gpu_sets_the_share_anew(gpus: float, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", held.append)
    assert choose_device(gpus) == torch.device("cuda")
    assert held == [share]
    assert choose_device(0) == torch.device("cpu")
    assert held == [share], "a trial on the CPU has none"


@pytest.mark.parametrize(
    ("gpus", "needed", "free", "told"),
    [
        (1.0, 80, 80, None),
        (0.5, 40, 60, None),
        (0.5, 41, 60, "0.5 of this GPU's memory is 40.0 GB, and the training images alone take 41.0 GB"),
        (0.5, 31, 30, "0.5 of this GPU's memory is 40.0 GB, of which 30.0 GB are free, and the training images"),
        (2.0, 81, 80, "2 of this GPU's memory is 80.0 GB, and the training images alone take 81.0 GB"),
    ],
)
def test_images_that_the_share_cannot_hold_are_refused(gpus: float, needed: int, free: int, told: str | None) -> None:
    if told is None:
        require_room(gpus, needed * GB, free * GB, 80 * GB)
        return
    with pytest.raises(ClusterError) as refused:
        require_room(gpus, needed * GB, free * GB, 80 * GB)
    assert str(refused.value).startswith(f"resources.gpus: {told}")
    assert "\n" not in str(refused.value)


@pytest.mark.cuda
@needs_gpu
def test_a_process_cannot_take_more_than_its_share() -> None:
    total = torch.cuda.mem_get_info()[1]
    try:
        choose_device(0.05)
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(int(0.06 * total), dtype=torch.uint8, device="cuda")
        choose_device(1)
        assert torch.empty(int(0.06 * total), dtype=torch.uint8, device="cuda").is_cuda
    finally:
        choose_device(1)
        torch.cuda.empty_cache()
