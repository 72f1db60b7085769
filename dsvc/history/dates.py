"""Dates as people type them after `--since` and in `main@{...}`: ISO 8601, and a few words.

The clock and the zone are told, not read.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from dsvc.errors import InvalidInputError

__all__ = ["InvalidDateError", "parse_date"]

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DATE: Final = re.compile(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}|[0-9]{4}-?W[0-9]{2}(?:-?[1-7])?")
_AGO: Final = re.compile(r"(?:(?:[0-9]{1,6}|an?) +[a-z]+ +)+ago")
_AMOUNT: Final = re.compile(r"([0-9]{1,6}|an?) +([a-z]+) +")

_SPANS: Final = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_MONTHS: Final = {"month": 1, "year": 12}


class InvalidDateError(InvalidInputError):
    """Text that is no date."""

    def __init__(self, text: str) -> None:
        super().__init__(f"not a date: `{text}`")
        self.text = text


def parse_date(text: str, now: tuple[int, int], *, end: bool = False) -> int:
    """Return the moment that *text* names, in microseconds since 1970 UTC.

    *now* is that and the zone's minutes east of Greenwich. A day without a time is its first
    moment, or its last one with *end*. Understood are `2026-08-01`, `2026-08-01 12:30`, with a zone
    or `Z` behind or in the local zone without; `@SECONDS` since 1970; `now`, `today`,
    `yesterday` (this time, a day ago), `midnight`, `2 days ago`, `1.week.3.days.ago`, `last month`.

    Raises:
        InvalidDateError: It is none of these.
    """
    zone = timezone(timedelta(minutes=now[1]))
    present = (_EPOCH + timedelta(microseconds=now[0])).astimezone(zone)
    try:
        moment = _moment(text.strip(), present, end=end)
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise InvalidDateError(text)
    return (moment - _EPOCH) // _MICROSECOND


def _moment(text: str, now: datetime, *, end: bool) -> datetime | None:
    if text.startswith("@"):
        return _EPOCH + timedelta(seconds=float(text[1:]))
    if _DATE.fullmatch(text):
        return _day(datetime.fromisoformat(text).replace(tzinfo=now.tzinfo), end=end)
    if _DATE.match(text):
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)
    words = " ".join(re.split(r"[\s._]+", text.lower()))
    if words == "now":
        return now
    if words == "today":
        return _day(now, end=end)
    if words == "midnight":
        return _day(now, end=False)
    if words == "yesterday":
        return now - timedelta(days=1)
    if words.startswith("last "):
        words = f"1 {words[5:]} ago"
    return _before(now, words) if _AGO.fullmatch(words) else None


def _day(moment: datetime, *, end: bool) -> datetime:
    start = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return start + timedelta(days=1) - _MICROSECOND if end else start


def _before(now: datetime, words: str) -> datetime | None:
    moment = now
    for amount, unit in _AMOUNT.findall(words):
        count = int(amount) if amount.isdecimal() else 1
        name = unit.removesuffix("s")
        if name in _SPANS:
            moment -= count * _SPANS[name]
        elif name in _MONTHS:
            moment = _months_before(moment, count * _MONTHS[name])
        else:
            return None
    return moment


def _months_before(moment: datetime, months: int) -> datetime:
    year, month = divmod(moment.year * 12 + moment.month - 1 - months, 12)
    # The 31st of a month that has 30 days is its last day.
    day = moment.day
    while True:
        try:
            return moment.replace(year=year, month=month + 1, day=day)
        except ValueError:
            if day <= 28:
                raise
            day -= 1
