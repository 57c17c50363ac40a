"""Images of every mode: what eight bits hold of them, or a refusal in one line."""

from __future__ import annotations

import random
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdstudy.data.decode import decode, image_suffixes, is_image, square
from kdstudy.data.levels import DARK, WHITE
from kdstudy.errors import DataError

SIDE = 16
RAMP = np.tile(np.linspace(0, WHITE, SIDE).round(), (SIDE, 1))
EXPECTED = [17 * step for step in range(SIDE)]  # 65535 / 15 is 257 x 17, and 255 / 15 is 17


def row(path: Path, white: int | None = None) -> list[int]:
    """The first row of an image that is read at its own size."""
    pixels = decode(str(path), SIDE, "crop", white)
    assert pixels.shape == (3, SIDE, SIDE)
    assert (pixels.amax(dim=0) - pixels.amin(dim=0)).max() <= 2, "grey"
    return pixels[0, 0].tolist()


def refusal(path: Path, white: int | None = None) -> str:
    with pytest.raises(DataError) as caught:
        decode(str(path), SIDE, "crop", white)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"data: {path} ")
    return line


def grey(levels: np.ndarray, name: str, kind: str = "uint16") -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        Image.fromarray(levels.astype(kind)).save(folder / name)
        return folder / name

    return save


def tiff(folder: Path, order: str = ">", meaning: int = 1) -> Path:
    """Big-endian (">"), or with 0 for white (``meaning`` 0): Pillow reads both, and writes neither."""
    data = (RAMP if meaning else RAMP[:, ::-1]).astype(f"{order}u2").tobytes()
    entries = [(256, 3, SIDE), (257, 3, SIDE), (258, 3, 16), (259, 3, 1), (262, 3, meaning), (273, 4, 8), (277, 3, 1),
               (278, 3, SIDE), (279, 4, len(data))]  # fmt: skip
    table = b"".join(
        struct.pack(f"{order}HHI", tag, kind, 1) + struct.pack(f"{order}H2x" if kind == 3 else f"{order}I", value)
        for tag, kind, value in entries
    )
    header = (b"MM\x00*" if order == ">" else b"II*\x00") + struct.pack(f"{order}I", 8 + len(data))
    (folder / "own.tif").write_bytes(header + data + struct.pack(f"{order}H", len(entries)) + table + bytes(4))
    return folder / "own.tif"


def pgm(folder: Path, white: int = WHITE) -> Path:
    levels = np.rint(RAMP * (white / WHITE)).astype(">u2")
    (folder / "grey.pgm").write_bytes(f"P5 {SIDE} {SIDE} {white}\n".encode() + levels.tobytes())
    return folder / "grey.pgm"


def deep_png(folder: Path, largest: int = WHITE, kind: int = 2) -> Path:
    """A PNG of 16 bits a colour (kind 2), or of grey with opacity (4), which Pillow reads and cannot write."""
    levels = np.rint(RAMP * (largest / WHITE)).astype(">u2")
    pixels = np.stack([levels, levels, levels] if kind == 2 else [levels, np.full_like(levels, WHITE)], axis=-1)
    pixels = pixels.astype(">u2")
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", SIDE, SIDE, 16, kind, 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    (folder / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return folder / "deep.png"


@pytest.mark.parametrize(
    "save",
    [
        grey(RAMP, "g.png"),
        grey(RAMP, "g.tif"),
        tiff,
        lambda folder: tiff(folder, "<", 0),
        pgm,
        lambda folder: pgm(folder, 4095),
        grey(RAMP, "g.jp2"),
        deep_png,
        lambda folder: deep_png(folder, kind=4),
    ],
    ids=[
        "png",
        "tiff",
        "big-endian tiff",
        "tiff with white at 0",
        "pgm",
        "pgm of 12 bits",
        "jpeg 2000",
        "colour png",
        "png with opacity",
    ],
)
def test_sixteen_bits_are_scaled_to_eight(save: Callable[[Path], Path], tmp_path: Path) -> None:
    found = np.array(row(save(tmp_path)))
    assert np.abs(found - EXPECTED).max() <= 1, found  # Pillow halves colours by their upper byte
    assert found[0] == 0 and found[-1] == 255


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA", "CMYK", "RGB", "RGBA", "YCbCr", "LAB"])
def test_modes_of_eight_bits_are_what_they_show(mode: str, tmp_path: Path) -> None:
    image = Image.new("RGB", (SIDE, SIDE), (255, 255, 255))
    image.paste((0, 0, 0), (0, 0, SIDE // 2, SIDE))
    if mode == "LAB":
        lab = np.zeros((SIDE, SIDE, 3), np.uint8)
        lab[:, SIDE // 2 :, 0] = 255
        image = Image.frombytes("LAB", (SIDE, SIDE), lab.tobytes())
    else:
        image = image.convert("P").convert("PA") if mode == "PA" else image.convert(mode)
    name = "image.tif" if mode in ("CMYK", "LAB", "YCbCr", "PA") else "image.png"
    image.save(tmp_path / name)
    with Image.open(tmp_path / name) as written:
        as_written = written.mode == mode
    if not as_written:
        assert mode == "YCbCr", "the one that Pillow up to 10.3 takes for four bytes of RGB, and cannot read"
        refusal(tmp_path / name)
        return
    found = np.array(row(tmp_path / name))
    assert (found[: SIDE // 2] <= 2).all() and (found[SIDE // 2 :] >= 253).all(), found


def test_a_palette_with_opacity_warns_of_nothing(tmp_path: Path) -> None:
    image = Image.new("P", (SIDE, SIDE), 1)
    image.putpalette([0, 0, 0, 200, 200, 200])
    image.save(tmp_path / "p.png", transparency=bytes([0, 128]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert row(tmp_path / "p.png") == [200] * SIDE


@pytest.mark.parametrize("name", ["twelve.png", "twelve.tif", "twelve.jp2"])
def test_twelve_bits_in_sixteen_are_refused_until_white_is_said(name: str, tmp_path: Path) -> None:
    path = grey(np.rint(RAMP * (DARK / WHITE)), name)(tmp_path)
    assert f"data.options.white: {DARK}, or data.options.white: {WHITE}" in refusal(path)
    assert row(path, DARK) == EXPECTED
    assert max(row(path, WHITE)) == 16, "as dark as it says"


def test_colours_of_twelve_bits_are_refused_as_well(tmp_path: Path) -> None:
    path = deep_png(tmp_path, DARK)
    assert "only colours up to 4095" in refusal(path)
    assert max(row(path, WHITE)) == 15
    assert "white is 65535, but data.options.white is 4095" in refusal(path, DARK)


def test_a_black_image_is_black_whatever_white_is(tmp_path: Path) -> None:
    assert row(grey(np.zeros((SIDE, SIDE)), "black.png")(tmp_path)) == [0] * SIDE


@pytest.mark.parametrize(
    ("kind", "levels", "message"),
    [
        ("float32", RAMP / WHITE, "no white is known (Pillow's mode F)"),
        ("int32", RAMP, "grey levels of up to 32 bits (from 0 to 65535); say which is white in data.options.white"),
        ("int32", RAMP - 30000, "grey levels of up to 32 bits (from -30000 to 35535)"),
    ],
)
def test_numbers_without_a_white_are_refused(kind: str, levels: np.ndarray, message: str, tmp_path: Path) -> None:
    assert message in refusal(grey(levels, "g.tif", kind)(tmp_path))


def test_a_white_that_is_said_holds_for_any_depth(tmp_path: Path) -> None:
    path = grey(RAMP, "g.tif", "int32")(tmp_path)
    assert row(path, WHITE) == EXPECTED
    assert "grey levels from 0 to 65535, but white is 1023" in refusal(path, 1023)


def test_an_image_beyond_the_limit_is_told_with_size_and_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (40, 30)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    line = refusal(tmp_path / "large.png")
    assert "is too large (Image size (1200 pixels) exceeds limit of 1000 pixels); scale it down" in line


def test_below_the_limit_size_is_no_reason_to_warn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (40, 30)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(str(tmp_path / "large.png"), 8, "stretch").shape == (3, 8, 8)


def test_names_of_images_are_those_that_pillow_decodes_itself() -> None:
    assert {".png", ".jpg", ".jpeg", ".jfif", ".gif", ".bmp", ".pgm", ".tif", ".tiff", ".webp"} <= image_suffixes()
    assert not {".txt", ".pdf", ".mpg", ".eps", ".h5", ".json", ".npy"} & image_suffixes()


def framed(turn: int) -> Image.Image:
    """An image of which each corner has a grey of its own, as a camera stores it that was held as ``turn`` says.

    Upright it is 24 wide and 16 high, with 50 on the upper left, 100 on the upper right, 150 and 200 below.
    """
    upright = np.full((16, 24), 50, np.uint8)
    upright[:, 12:] += 50
    upright[8:] += 100
    # Exif 2.32, 4.6.4: where row 0 and column 0 of what is stored are in what was seen.
    stored = {
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.T,  # left, top
        6: upright.T[::-1],  # right, top: the first row is what was seen on the right
        7: upright.T[::-1, ::-1],  # right, bottom
        8: upright.T[:, ::-1],  # left, bottom
    }
    return Image.fromarray(np.ascontiguousarray(stored[turn]))


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "lzw.tif"])
def test_images_are_turned_as_the_camera_noted(name: str, turn: int, tmp_path: Path) -> None:
    exif, image = Image.Exif(), framed(turn)
    exif[274] = turn
    options = {"a.webp": {"lossless": True}, "lzw.tif": {"compression": "tiff_lzw"}}.get(name, {"quality": 100})
    image.save(tmp_path / name, exif=exif, **options)
    path = str(tmp_path / name)
    turned, as_is = decode(path, 16, "stretch", exif=True)[0], decode(path, 16, "stretch")[0]
    assert [int(turned[y, x]) // 10 for y, x in ((2, 2), (2, 13), (13, 2), (13, 13))] == [5, 10, 15, 20]
    if not name.endswith(".tif"):  # which Pillow turns itself
        plain = np.array(image.resize((16, 16), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(as_is.numpy().astype(int) - plain).max() <= 3


def test_an_animation_is_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (SIDE, SIDE), (level,) * 3) for level in (40, 200)]
    for name in ("a.gif", "a.webp", "a.png", "a.tif"):
        options = {"lossless": True} if name == "a.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        assert row(tmp_path / name) == [40] * SIDE, name


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.txt", "a"])
def test_the_content_decides_not_the_name(name: str, tmp_path: Path) -> None:
    for form in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        Image.new("RGB", (SIDE, SIDE), (90, 90, 90)).save(tmp_path / name, format=form)
        assert is_image(str(tmp_path / name))
        assert row(tmp_path / name) == [90] * SIDE
    (tmp_path / name).write_text("no image")
    assert not is_image(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("no width.pgm", b"P5 0 4 255\n"),
        ("no height.gif", b"GIF89a\x04\x00\x00\x00\x00\x00\x00,\x00\x00\x00\x00\x04\x00\x00\x00\x00\x02\x00;"),
        ("empty.jpg", b""),
        ("text.webp", b"<html>not found</html>"),
    ],
)
def test_what_holds_no_image_is_one_line(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert ("it is empty" if not content else "not a whole image that Pillow reads") in refusal(tmp_path / name)


@pytest.mark.parametrize("form", ["AVIF", "BMP", "DDS", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"])
def test_a_damaged_image_is_read_or_refused_in_one_line(form: str, tmp_path: Path) -> None:
    if form not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {form}")
    noise = np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)
    path = tmp_path / "whole"
    Image.fromarray(noise).save(path, format=form)
    content, draw = path.read_bytes(), random.Random(form)
    for attempt in range(60):
        damaged = bytearray(content[: draw.randrange(len(content))] if attempt % 3 == 0 else content)
        for _ in range(attempt % 4 if damaged else 0):
            damaged[draw.randrange(min(len(damaged), 200))] = draw.choice([0, 1, 127, 128, 255])
        (tmp_path / "damaged").write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert decode(str(tmp_path / "damaged"), SIDE, "crop").shape == (3, SIDE, SIDE)
            except DataError as error:
                assert str(error).startswith(f"data: {tmp_path / 'damaged'} ") and "\n" not in str(error)


def test_what_an_odd_decoder_raises_is_one_line(tmp_path: Path) -> None:
    """Pillow's DDS raises NotImplementedError, its AVIF RuntimeError, for fields that it does not know."""
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "odd.dds")
    content = bytearray((tmp_path / "odd.dds").read_bytes())
    content[80:84] = (8388608).to_bytes(4, "little")
    (tmp_path / "odd.dds").write_bytes(content)
    assert "not a whole image that Pillow reads" in refusal(tmp_path / "odd.dds")


def test_a_large_jpeg_is_never_whole_in_memory(tmp_path: Path) -> None:
    Image.new("L", (4000, 3200), 80).save(tmp_path / "large.jpg")
    with Image.open(tmp_path / "large.jpg") as opened:
        assert square(opened, "large.jpg", 32, "crop").unique().tolist() == [80]
        assert opened.size == (500, 400), "an eighth of each side"
