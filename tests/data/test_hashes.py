"""Hashes of tensors, beside hashlib over bytes written out by hand."""

from __future__ import annotations

import hashlib

import torch

from kdstudy.data import tensors_sha256


def test_names_types_shapes_and_bytes_are_hashed_in_the_order_of_the_names() -> None:
    tensors = {"b": torch.tensor([[1, 2]], dtype=torch.int16), "a": torch.tensor(1.0)}
    content = b"a:torch.float32:();" + bytes([0, 0, 128, 63]) + b"b:torch.int16:(1, 2);" + bytes([1, 0, 2, 0])
    assert tensors_sha256(tensors) == hashlib.sha256(content).hexdigest()


def test_the_order_in_memory_does_not_matter() -> None:
    image = torch.arange(24.0).view(1, 2, 3, 4)
    assert tensors_sha256({"x": image}) == tensors_sha256({"x": image.to(memory_format=torch.channels_last)})


def test_low_precision_has_bytes_too() -> None:
    content = b"x:torch.bfloat16:(1,);" + bytes([128, 63])
    assert tensors_sha256({"x": torch.ones(1, dtype=torch.bfloat16)}) == hashlib.sha256(content).hexdigest()
