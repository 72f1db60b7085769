"""Dates as people type them."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvc.history.dates import InvalidDateError, parse_date

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONE = timezone(timedelta(hours=2))
NOW = datetime(2026, 8, 1, 12, 0, tzinfo=ZONE)


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def read(text: str, *, end: bool = False) -> datetime:
    return (EPOCH + timedelta(microseconds=parse_date(text, (micros(NOW), 120), end=end))).astimezone(ZONE)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-07-15", datetime(2026, 7, 15, tzinfo=ZONE)),
        ("20260715", datetime(2026, 7, 15, tzinfo=ZONE)),
        ("2026-07-15 08:30", datetime(2026, 7, 15, 8, 30, tzinfo=ZONE)),
        ("2026-07-15T08:30:05.25Z", datetime(2026, 7, 15, 8, 30, 5, 250_000, tzinfo=UTC)),
        ("2026-07-15T08:30:05-05:00", datetime(2026, 7, 15, 13, 30, 5, tzinfo=UTC)),
        ("@0", EPOCH),
        ("@1.5", EPOCH + timedelta(seconds=1.5)),
        ("now", NOW),
        ("today", datetime(2026, 8, 1, tzinfo=ZONE)),
        ("Midnight", datetime(2026, 8, 1, tzinfo=ZONE)),
        ("yesterday", NOW - timedelta(days=1)),
        ("2 days ago", NOW - timedelta(days=2)),
        ("2.days.ago", NOW - timedelta(days=2)),
        ("1 week 3 days ago", NOW - timedelta(days=10)),
        ("an hour ago", NOW - timedelta(hours=1)),
        ("last week", NOW - timedelta(days=7)),
        ("2 months ago", datetime(2026, 6, 1, 12, tzinfo=ZONE)),
        ("last year", datetime(2025, 8, 1, 12, tzinfo=ZONE)),
        ("8 months ago", datetime(2025, 12, 1, 12, tzinfo=ZONE)),
    ],
)
def test_a_date_is_read_in_the_local_zone(text: str, moment: datetime) -> None:
    assert read(text) == moment


def test_a_day_may_mean_its_last_moment() -> None:
    assert read("2026-07-15", end=True) == datetime(2026, 7, 16, tzinfo=ZONE) - timedelta(microseconds=1)
    assert read("2026-07-15 08:30", end=True) == datetime(2026, 7, 15, 8, 30, tzinfo=ZONE)


def test_a_month_before_the_31st_is_the_last_day_of_the_month() -> None:
    now = datetime(2026, 3, 31, tzinfo=UTC)

    assert parse_date("1 month ago", (micros(now), 0)) == micros(datetime(2026, 2, 28, tzinfo=UTC))


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_moment_is_read_from_its_iso_form(moment: datetime) -> None:
    assert parse_date(moment.isoformat(), (0, 0)) == micros(moment)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "2 days", "3 apples ago", "ago", "2026-13-01", "2026-02-30", "99999 years ago", "@x", "@1e99"],
)
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(InvalidDateError, match="not a date"):
        read(text)


@given(st.text())
def test_any_text_is_a_date_or_is_refused(text: str) -> None:
    with suppress(InvalidDateError):
        read(text)
