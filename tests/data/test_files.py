"""Images in files, and how they become tensors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from kdstudy.data.decode import decode
from kdstudy.data.files import ImageFiles
from kdstudy.errors import DataError
from tests.data.layouts import make_folders


def files(paths: list[Path], size: int = 8, workers: int = 0) -> ImageFiles:
    return ImageFiles(tuple(map(str, paths)), size, "crop", 0, workers)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    make_folders(tmp_path, train=3, test=1)
    return sorted((tmp_path / "train").rglob("*.png"))


def test_crop_keeps_the_middle_and_stretch_keeps_all(tmp_path: Path) -> None:
    image = Image.new("L", (24, 8), 0)
    image.paste(255, (8, 0, 16, 8))
    image.save(tmp_path / "bar.png")
    assert decode(str(tmp_path / "bar.png"), 8, "crop").tolist() == [[[255] * 8] * 8] * 3
    stretched = decode(str(tmp_path / "bar.png"), 8, "stretch")[0, 0]
    assert stretched[0] == stretched[7] == 0
    assert stretched[3] == stretched[4] == 255


def test_a_large_jpeg_is_nearly_what_it_is_without_the_short_cut(tmp_path: Path) -> None:
    ramp = torch.arange(512, dtype=torch.float32) / 2
    image = Image.fromarray((ramp[None, :] * torch.ones(512, 1)).to(torch.uint8).numpy()).convert("RGB")
    image.save(tmp_path / "ramp.jpg", quality=95)
    image.save(tmp_path / "ramp.png")
    quick, exact = (decode(str(tmp_path / f"ramp.{kind}"), 16, "crop").int() for kind in ("jpg", "png"))
    assert (quick - exact).abs().max() <= 3


def test_indices_are_answered_as_a_tensor_answers_them(paths: list[Path]) -> None:
    images = files(paths)
    whole = images.decoded()
    assert images.shape == whole.shape == (9, 3, 8, 8)
    assert images.nbytes == whole.nbytes
    some = torch.tensor([7, 0, 0])
    assert torch.equal(images[some], whole[some])
    assert torch.equal(images.take(some).decoded(), whole[some])
    assert torch.equal(files(paths, workers=2).decoded(), whole)


def test_the_digest_knows_contents_order_and_preparation_but_no_names(paths: list[Path]) -> None:
    first = files(paths).digest()
    found = {first, files(paths[::-1]).digest(), files(paths, size=9).digest(), files(paths[1:]).digest()}
    assert len(found) == 4
    renamed = [path.rename(path.with_name(f"x{path.name}")) for path in paths]
    assert files(renamed).digest() == first
    content = bytearray(renamed[4].read_bytes())
    content[-1] ^= 1
    renamed[4].write_bytes(content)
    assert files(renamed).digest() != first


def test_above_the_limit_the_digest_reads_beginnings(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdstudy.data.files.FINGERPRINT_BYTES", 10)
    with paths[0].open("ab") as file:
        file.write(bytes(5000))
    first = files(paths).digest()
    os.truncate(paths[0], paths[0].stat().st_size - 1)
    assert files(paths).digest() != first, "the length counts"


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("damage", ["gone", "cut", "text"])
def test_an_unreadable_file_is_one_line_wherever_it_is_decoded(paths: list[Path], workers: int, damage: str) -> None:
    images = files(paths, workers=workers)
    if damage == "gone":
        paths[4].unlink()
    elif damage == "cut":
        os.truncate(paths[4], 40)
    else:
        paths[4].write_text("no image")
    for attempt in (images.decoded, lambda: list(images.stream([torch.arange(9)], "cpu"))):
        with pytest.raises(DataError, match=rf"^data: {paths[4]} cannot be read") as error:
            attempt()
        assert "\n" not in str(error.value)
