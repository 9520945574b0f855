"""Generated NDJSON events of a small shop, with faults on purpose and a ledger of them."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

ACCESS_LOG = Path(__file__).parent / "access_log_2015.gz"
SITE = "https://shop.example.com"
_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.1 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "python-requests/2.32.3",
)
_REFERRERS = ("", "", "https://www.google.com/", "https://t.co/x1", "https://blog.example.org/post")
_CAMPAIGNS = ("", "", "", "?utm_source=newsletter&utm_medium=email&utm_campaign=autumn%20sale")
_FUNNEL = ("page_view", "page_view", "click", "add_to_cart", "begin_checkout", "purchase")


@dataclass(frozen=True)
class SampleFault:
    """One fault: its kind, where it stands, and what must become of it.

    `expected` is `quarantined`, `deduplicated` or `late`; a duplicate's line is that of the copy.
    """

    kind: str
    expected: str
    file_name: str
    line_number: int
    event_id: str


@dataclass(frozen=True)
class SampleEvents:
    """Files of events, in the order of their arrival, and the faults that they hold."""

    files: tuple[tuple[str, bytes], ...]
    faults: tuple[SampleFault, ...]
    event_count: int


def generate_events(
    last: date, *, days: int = 5, visitors: int = 60, seed: int = 2026
) -> SampleEvents:
    """Make one file for each day up to `last`, and a last one of late events and copies.

    `event_count` is how many events silver must hold afterwards.
    """
    chance = random.Random(seed)  # noqa: S311 -- a sample, not a secret
    files: list[tuple[str, bytes]] = []
    faults: list[SampleFault] = []
    sent: list[dict[str, object]] = []
    for back in reversed(range(days)):
        day = last - timedelta(days=back)
        events = sorted(_day(day, visitors, chance), key=lambda event: str(event["event_time"]))
        sent += events
        name = f"events_{day}.ndjson"
        lines = [json.dumps(event).encode() for event in events]
        lines += _broken(day, name, len(lines) + 1, faults)
        again = chance.choice(events)
        lines.append(json.dumps(again).encode())
        faults.append(_copy("duplicate_in_file", name, len(lines), again))
        files.append((name, b"\n".join(lines) + b"\n"))
    name = f"events_{last}_late.ndjson"
    late = list(_day(last - timedelta(days=2), 3, chance))
    copies = chance.sample(sent, 5)
    lines = [json.dumps(event).encode() for event in (*late, *copies)]
    faults += [
        SampleFault("late", "late", name, number, str(event["event_id"]))
        for number, event in enumerate(late, start=1)
    ]
    faults += [
        _copy("duplicate_in_other_file", name, number, event)
        for number, event in enumerate(copies, start=len(late) + 1)
    ]
    files.append((name, b"\n".join(lines) + b"\n"))
    return SampleEvents(tuple(files), tuple(faults), len(sent) + len(late))


def _day(day: date, visitors: int, chance: random.Random) -> Iterator[dict[str, object]]:
    """Yield the events of a day: visitors come once or twice and go some way of the funnel."""
    midnight = datetime.combine(day, time(), UTC)
    for number in range(visitors):
        agent = chance.choice(_AGENTS)
        for _ in range(chance.choice((1, 1, 2))):
            at = midnight + timedelta(seconds=chance.randrange(20 * 3600))
            landing = chance.choice(_CAMPAIGNS)
            referrer = chance.choice(_REFERRERS)
            for step in _FUNNEL[: chance.randint(1, len(_FUNNEL))]:
                at += timedelta(seconds=chance.randrange(2, 400))
                yield {
                    "event_id": f"{chance.getrandbits(128):032x}",
                    "event_type": step,
                    "event_time": at.isoformat(timespec="milliseconds"),
                    "user_id": f"u{number}" if step == "purchase" else None,
                    "anonymous_id": f"visitor-{day.isocalendar().week}-{number}",
                    "url": f"{SITE}/products/{chance.randrange(40)}{landing}",
                    "referrer": referrer or None,
                    "user_agent": agent,
                    "ip": f"198.51.100.{number % 250}",
                    "value": round(chance.uniform(5, 200), 2) if step == "purchase" else None,
                    "currency": "EUR" if step == "purchase" else None,
                    "properties": {"step": step, "is_test": True},
                }
                landing, referrer = "", f"{SITE}/"


def _broken(day: date, name: str, first_line: int, faults: list[SampleFault]) -> list[bytes]:
    """Return lines that can't be events, and note each."""
    noon = f'{day}T12:00:00Z"}}'.encode()
    lines = {
        "invalid_json": b'{"event_id": "broken", "event_time": ',
        "missing_time": b'{"event_id": "timeless", "event_type": "click"}',
        "too_old": b'{"event_id": "unix-zero", "event_time": "1970-01-01T00:00:00Z"}',
        "in_the_future": b'{"event_id": "future", "event_time": "2099-12-31T23:59:59Z"}',
        "nul_character": b'{"event_id": "nul\x00", "event_time": "' + noon,
        "undecodable": b'{"event_id": "\xff\xfe", "event_time": "' + noon,
    }
    faults += [
        SampleFault(kind, "quarantined", name, number, "")
        for number, kind in enumerate(lines, start=first_line)
    ]
    return list(lines.values())


def _copy(kind: str, name: str, line: int, event: dict[str, object]) -> SampleFault:
    return SampleFault(kind, "deduplicated", name, line, str(event["event_id"]))
