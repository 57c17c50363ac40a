"""What is said about an address before Ray is asked."""

from __future__ import annotations

import pytest

from kdstudy.cluster import check_address
from kdstudy.errors import ClusterError


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("auto", r"may join a stranger's cluster; give HOST:PORT"),
        ("ray://127.0.0.1:10001", r"HOST:PORT, or let `kdstudy submit STUDY --address http://HOST:8265` do so"),
        ("127.0.0.1", r"not an address, got '127\.0\.0\.1'; give HOST:PORT"),
        ("127.0.0.1:head", r"not an address, got '127\.0\.0\.1:head'"),
        ("127.0.0.1:1", r"nothing listens at 127\.0\.0\.1:1 \(Connection refused\); check that the head runs"),
    ],
)
def test_an_address_that_cannot_do_is_one_line(address: str, message: str) -> None:
    with pytest.raises(ClusterError, match=message) as error:
        check_address(address)
    assert str(error.value).startswith("--address: ")
    assert "\n" not in str(error.value)
