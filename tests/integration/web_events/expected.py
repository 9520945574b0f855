"""The marts computed once more, in plain Python, from the same rows of silver."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

from tests.integration.web_events.silver_events import Event

Row = dict[str, Any]


def rounded(number: Fraction, digits: int) -> Decimal:
    """Round half up to so many digits."""
    scaled = math.floor(number * 10**digits + Fraction(1, 2))
    return Decimal(scaled).scaleb(-digits).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)


def share(part: int, whole: int) -> Decimal | None:
    """Return a percentage with four digits."""
    return rounded(Fraction(100 * part, whole), 4) if whole else None


def mean_score(scores: Sequence[float]) -> Decimal:
    """Return the mean of scores, each of six digits."""
    exact = [Fraction(round(score * 1_000_000), 1_000_000) for score in scores]
    return rounded(sum(exact, Fraction(0)) / len(exact), 6)


def grouped(events: Iterable[Event], key: Callable[[Event], Any]) -> dict[Any, list[Event]]:
    """Return events by a key, in order of the keys."""
    groups: dict[Any, list[Event]] = defaultdict(list)
    for one in events:
        groups[key(one)].append(one)
    return dict(sorted(groups.items()))


def traffic_figures(events: Sequence[Event]) -> Row:
    """Return what the summaries of a day and of a week share."""
    people = [one for one in events if not one["is_bot"]]
    with_status = [one for one in events if one.get("status_code") is not None]
    errors = [one for one in with_status if 400 <= one["status_code"] < 600]
    return {
        "total_events": len(events),
        "bot_events": len(events) - len(people),
        "human_events": len(people),
        "bot_percentage": share(len(events) - len(people), len(events)),
        "distinct_visitors": len({one["visitor_id"] for one in people}),
        "distinct_addresses": len({one.get("client_address") for one in events} - {None}),
        "sessions": len({one["session_id"] for one in people}),
        "page_views": sum(one["event_type"] == "page_view" for one in people),
        "error_events": len(errors),
        "error_percentage": share(len(errors), len(with_status)),
        "late_events": sum(one["is_late"] for one in events),
        "response_bytes": Decimal(sum(one.get("response_bytes") or 0 for one in events)),
        "avg_quality": mean_score([one["data_quality_score"] for one in events]),
        "min_quality": min(one["data_quality_score"] for one in events),
    }


def daily_summary(events: Iterable[Event]) -> list[Row]:
    days = grouped(events, lambda one: one["event_date"])
    return [{"event_date": day, **traffic_figures(of_day)} for day, of_day in days.items()]


def quality_trend(events: Iterable[Event]) -> list[Row]:
    names = ("event_date", "avg_quality", "bot_percentage", "total_events")
    return [{name: row[name] for name in names} for row in daily_summary(events)]


def weekly_performance_summary(events: Iterable[Event]) -> list[Row]:
    rows = []
    for (year, week), of_week in grouped(
        events, lambda one: one["event_date"].isocalendar()[:2]
    ).items():
        durations = sorted(
            one["duration_ms"] for one in of_week if one.get("duration_ms") is not None
        )
        rows.append(
            {
                "week_start_date": date.fromisocalendar(year, week, 1),
                "days_with_events": len({one["event_date"] for one in of_week}),
                **traffic_figures(of_week),
                "median_duration_ms": nearest_rank(durations, 50),
                "p95_duration_ms": nearest_rank(durations, 95),
            }
        )
    return rows


def nearest_rank(ordered: Sequence[float], percent: int) -> float | None:
    """Return the smallest value that at least so many percent do not exceed."""
    return ordered[math.ceil(Fraction(percent * len(ordered), 100)) - 1] if ordered else None


def sessions(events: Iterable[Event]) -> list[Row]:
    rows = []
    for (day, session), found in grouped(
        events, lambda one: (one["event_date"], one["session_id"])
    ).items():
        ordered = sorted(found, key=lambda one: one["session_event_number"])
        first, last = ordered[0], ordered[-1]
        started, ended = (pick(one["event_at"] for one in found) for pick in (min, max))
        midnight = datetime.combine(day + timedelta(days=1), datetime.min.time(), ended.tzinfo)
        people = [one for one in found if not one["is_bot"]]
        values = [one["value"] for one in found if one.get("value") is not None]
        users = [one["user_id"] for one in found if one.get("user_id") is not None]
        rows.append(
            {
                "event_date": day,
                "session_id": session,
                "visitor_id": first["visitor_id"],
                "user_id": max(users, default=None),
                "started_at": started,
                "ended_at": ended,
                "duration_ms": (ended - started) // timedelta(milliseconds=1),
                "event_count": len(found),
                "page_view_count": sum(one["event_type"] == "page_view" for one in people),
                "error_count": sum(400 <= (one.get("status_code") or 0) < 600 for one in found),
                "value": sum(values, Decimal(0)) if values else None,
                "traffic_channel": first["traffic_channel"],
                "traffic_source": first.get("utm_source") or first.get("referrer_host"),
                "utm_medium": first.get("utm_medium"),
                "utm_campaign": first.get("utm_campaign"),
                "entry_host": first.get("url_host"),
                "entry_path": first.get("url_path"),
                "exit_path": last.get("url_path"),
                "device_type": first["device_type"],
                "browser": first.get("browser"),
                "operating_system": first.get("operating_system"),
                "is_bot": not people,
                "bot_event_count": len(found) - len(people),
                "is_single_event": len(found) == 1,
                "is_open_at_midnight": ended > midnight - timedelta(minutes=30),
            }
        )
    return rows


def funnel(
    events: Iterable[Event], steps: Sequence[Callable[[Event], bool]], names: Sequence[str]
) -> list[Row]:
    """Walk through each session: the next event that takes the next step takes it."""
    rows = []
    for day, of_day in grouped(events, lambda one: one["event_date"]).items():
        reached: list[set[str]] = [set() for _ in steps]
        visitors: list[set[str]] = [set() for _ in steps]
        for session, found in grouped(of_day, lambda one: one["session_id"]).items():
            taken = 0
            for one in sorted(found, key=lambda one: one["session_event_number"]):
                if taken < len(steps) and not one["is_bot"] and steps[taken](one):
                    reached[taken].add(session)
                    visitors[taken].add(one["visitor_id"])
                    taken += 1
        for number, name in enumerate(names):
            before = len(reached[number - 1]) if number else 0
            rows.append(
                {
                    "event_date": day,
                    "step_number": number + 1,
                    "step_name": name,
                    "visitors": len(visitors[number]),
                    "sessions": len(reached[number]),
                    "conversion_percentage": share(len(reached[number]), len(reached[0])),
                    "step_conversion_percentage": share(len(reached[number]), before),
                }
            )
    return rows


def traffic_by_source(events: Iterable[Event]) -> list[Row]:
    rows = []
    found = sessions(events)
    for (day, channel, source), members in grouped(
        found,
        lambda one: (one["event_date"], one["traffic_channel"], one["traffic_source"] or "(none)"),
    ).items():
        people = [one for one in members if not one["is_bot"]]
        values = [one["value"] for one in members if one["value"] is not None]
        rows.append(
            {
                "event_date": day,
                "traffic_channel": channel,
                "traffic_source": source,
                "visitors": len({one["visitor_id"] for one in people}),
                "sessions": len(people),
                "bot_sessions": len(members) - len(people),
                "events": sum(one["event_count"] for one in members),
                "bot_events": sum(one["bot_event_count"] for one in members),
                "page_views": sum(one["page_view_count"] for one in members),
                "value": sum(values, Decimal(0)) if values else None,
            }
        )
    return rows
