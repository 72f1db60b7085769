"""Addresses and amounts, as people write them."""

import pytest

from dsvc.datasets.address import Address, InvalidAddressError, parse_address
from dsvc.datasets.amounts import BadAmountError, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("main", Address(None, "main")),
        ("vision/imagenet@1.2.0", Address(None, "vision/imagenet@1.2.0")),
        ("origin#train", Address("origin", "train")),
        ("s3://bucket/path#train@latest:a/b/", Address("s3://bucket/path", "train@latest", b"a/b")),
        ("../store#main:a#b", Address("../store", "main", b"a#b")),
        ("#odd#name", Address(None, "odd#name")),
        ("main@{2026-08-01 12:00}:labels.csv", Address(None, "main@{2026-08-01 12:00}", b"labels.csv")),
        ("main:", Address(None, "main")),
    ],
)
def test_an_address_says_store_version_and_path(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "origin#", "s3://bucket/path", "#", ":path", "a#:b"])
def test_an_address_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddressError):
        parse_address(text)


def test_a_password_in_an_address_is_not_shown() -> None:
    with pytest.raises(InvalidAddressError, match=r"https://me:\*\*\*@host"):
        parse_address("https://me:secret@host/x")


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("512", 512), ("1K", 1024), ("1.5 MiB", 3 << 19), ("50GB", 50 << 30), ("2t", 2 << 40), ("1p", 1 << 50)],
)
def test_sizes_are_in_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("90", 90), ("12h", 43_200), ("1.5d", 129_600), ("2w", 1_209_600)]
)
def test_lengths_of_time_have_one_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-1", "1X", "1 2", "K"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(BadAmountError):
        parse_size(text)
    with pytest.raises(BadAmountError):
        parse_duration(text)
