"""What messages about incidents say, and the post-mortem page that is filled in beforehand.

Pure: text from what is known. A message says what happened, since when, what it touches, the one
safe command, what its dry run said, what changed since all was green, and when it will be green
again if such a cause was mended before (B-12).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline_platform.operations.faults import ALL_DAYS, Days, Fault
from pipeline_platform.operations.incident_figures import ExpectedGreen
from pipeline_platform.operations.incidents import Incident
from pipeline_platform.quality.thresholds import Remedy
from pipeline_platform.recovery.record import EndedRecovery

SHOWN_FAULTS = 5
SHOWN_ASSETS = 10
SHOWN_MESSAGES = 30
SHOWN_CHARACTERS = 1500
TITLE_LENGTH = 160
NOTHING_CHANGED = ("nothing that the platform records",)


@dataclass(frozen=True)
class DryRun:
    """What a remedy's dry run said; `exit_code` is None where it did not end or was not run."""

    command: str
    exit_code: int | None
    output: str
    seconds: float

    def in_words(self) -> str:
        """Say how it ended, and what it printed."""
        if self.exit_code is None:
            return f"Dry run of `{self.command}`: {self.output}"
        head = f"Dry run, `{self.command}`, ended with code {self.exit_code}:"
        return "\n".join([head, *(f"    {line}" for line in self.output.splitlines())])


@dataclass(frozen=True)
class Changes:
    """What changed since the last green, a line for each kind of thing.

    `since` is None where the thing was never seen to work.
    """

    since: datetime | None
    lines: tuple[str, ...] = ()

    def in_words(self) -> str:
        """Say what changed; that nothing is recorded is said, too."""
        if self.since is None:
            return "Changed since the last green: not known, it was never seen green."
        head = f"Changed since the last green ({_instant(self.since)}):"
        return "\n".join([head, *(f"- {line}" for line in self.lines or NOTHING_CHANGED)])


@dataclass(frozen=True)
class TimelineLine:
    """One line of an incident's timeline as it is kept."""

    at: datetime
    kind: str
    sentence: str


def shortened(text: str, length: int) -> str:
    """Return a text, cut with a mark if it is longer."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def title_of(incident: Incident, kind: str) -> str:
    """Return one line: how bad, whose, what."""
    mark = "RESOLVED" if kind == "resolved" else incident.severity.upper()
    number = f" (incident {incident.incident_id})" if incident.incident_id is not None else ""
    step = {"worsened": "worse: ", "escalated": "not answered: "}.get(kind, "")
    text = f"[{mark}] {incident.pipeline}: {step}{' '.join(incident.title.split())}"
    return shortened(text, TITLE_LENGTH) + number


def body_of(
    incident: Incident,
    kind: str,
    faults: Sequence[Fault],
    told: Sequence[str],
    dry_run: DryRun | None,
    changes: Changes,
    expected: ExpectedGreen | None,
    answer_by: datetime | None,
) -> str:
    """Return everything that whoever is told must know; `told` are the titles of who was."""
    number = incident.incident_id
    if kind == "resolved":
        ended = incident.resolved_at or incident.told_at
        return "\n".join(
            [
                f"{incident.title}",
                f"Resolved at {_instant(ended)}: {incident.resolution}",
                f"It was broken for {_span(ended - incident.began_at)}, since "
                f"{_instant(incident.began_at)}.",
                f"Post-mortem page: pipeline-platform incidents postmortem {number}",
            ]
        )
    red = sorted(
        (one for one in faults if one.state == "RED"), key=lambda one: (one.began_at, one.name)
    )
    others = [one.sentence for one in red if one.sentence != incident.title]
    lines = [
        f"What: {incident.title}",
        *(f"Also: {sentence}" for sentence in others[:SHOWN_FAULTS]),
    ]
    if len(others) > SHOWN_FAULTS:
        lines.append(f"Also: {len(others) - SHOWN_FAULTS} more; see incidents show {number}")
    lines.append(f"Since: {_instant(incident.began_at)}")
    days = days_in_words(red)
    if days:
        lines.append(f"Partitions: {days}")
    touched = _touched(red)
    more = f" and {len(touched) - SHOWN_ASSETS} more" if len(touched) > SHOWN_ASSETS else ""
    lines.append(f"Touches: {', '.join(touched[:SHOWN_ASSETS]) or 'nothing else known'}{more}")
    lines.append(changes.in_words())
    lines.append(f"Command: {incident.remedy.command}")
    lines.append(_dry_run_in_words(incident.remedy, dry_run))
    lines.append(expected_in_words(expected, incident.opened_at))
    if answer_by is not None:
        lines.append(_answer_in_words(incident, answer_by))
    lines.append(f"Acknowledge: pipeline-platform incidents acknowledge {number}")
    lines.append(f"Told: {', '.join(told)}")
    return "\n".join(lines)


def digest_of(pipeline: str, route: str, lines: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Return title and body of one message instead of many; `lines` are causes and sentences.

    It names the noisiest cause: a route beyond its budget is a fault of its rules (B-12).
    """
    causes = [cause for cause, _ in lines]
    noisiest = max(sorted(set(causes)), key=causes.count)
    title = f"[DIGEST] {pipeline}: {len(lines)} messages of the route {route}, beyond its budget"
    shown = [f"- {sentence}" for _, sentence in lines[:SHOWN_MESSAGES]]
    if len(lines) > SHOWN_MESSAGES:
        shown.append(f"- and {len(lines) - SHOWN_MESSAGES} more")
    body = [
        f"The noisiest cause is {noisiest} ({causes.count(noisiest)} of them).",
        *shown,
        f"Command: pipeline-platform incidents list --pipeline {pipeline}",
    ]
    return title, "\n".join(body)


def postmortem_page(
    incident: Incident,
    faults: Sequence[Fault],
    timeline: Sequence[TimelineLine],
    changes: Changes | None,
    recoveries: Sequence[EndedRecovery] = (),
) -> str:
    """Return a post-mortem in Markdown: facts are filled in, the rest is asked (SA-70, SC-35).

    `recoveries` were under way while it was broken: their steps and lessons stand in it (SA-99).
    """
    ended = incident.resolved_at
    broken = "still broken" if ended is None else _span(ended - incident.began_at)
    answered = incident.acknowledged_at
    touched = _touched(faults)
    rows = "\n".join(
        f"| {one.at:%Y-%m-%d %H:%M:%S} | {one.kind} | {_cell(one.sentence)} |" for one in timeline
    )
    facts = [
        ("pipeline", incident.pipeline),
        ("cause", f"`{incident.cause}`"),
        ("severity", incident.severity),
        ("route", incident.route),
        ("broke", _instant(incident.began_at)),
        ("noticed", f"{_instant(incident.opened_at)}, after "
                    f"{_span(incident.opened_at - incident.began_at)}"),
        ("answered", "by nobody" if answered is None else
         f"{_instant(answered)} by {incident.acknowledged_by}, after "
         f"{_span(answered - incident.opened_at)}"),
        ("resolved", "not yet" if ended is None else f"{_instant(ended)}: {incident.resolution}"),
        ("time to recovery", broken),
        ("runs", ", ".join(f"`{run}`" for run in sorted({f.run_id for f in faults if f.run_id}))
         or "none"),
        ("touched", ", ".join(f"`{asset}`" for asset in touched) or "nothing else known"),
        ("partitions", days_in_words(faults) or "all"),
        ("command", f"`{incident.remedy.command}`"),
    ]  # fmt: skip
    table = "\n".join(f"| {name} | {_cell(value)} |" for name, value in facts)
    return f"""# Post-mortem: incident {incident.incident_id}, {incident.pipeline}

{_cell(incident.title)}

| | |
|---|---|
{table}

## What changed before

{"Not looked for: no message of it was written." if changes is None else changes.in_words()}

## Timeline (UTC)

| when | what | in words |
|---|---|---|
{rows}
{_recoveries(recoveries)}
## To be filled in

- **Who noticed what, and how was it found?**
- **What did it do to consumers?** Which figures were wrong or late, who used them?
- **Root cause.** Why was it possible, why was it not caught earlier?
- **What mended it?** Was the command above the right one?
- **What went well, what did not, where were we lucky?**

## Actions

| action | owner | until |
|---|---|---|
| | | |
"""


def _recoveries(found: Sequence[EndedRecovery]) -> str:
    """Return a part for each recovery: what its steps said, what was wrong after it, lessons."""
    parts = []
    for one in found:
        steps = "\n".join(
            f"| {step['at'][:19]} | {step['step']} | {_cell('; '.join(step['said']))} |"
            for step in one.steps
        )
        wrong = "; ".join(map(_cell, one.faults)) or "nothing"
        lessons = "\n".join(f"- {_cell(text)}" for text in one.lessons)
        parts.append(
            f"\n## Recovery of {_instant(one.began_at)}, by {one.recovered_by}\n\n"
            f"It took {_span(one.ended_at - one.began_at)}. Wrong afterwards: {wrong}.\n\n"
            f"| when | step | in words |\n|---|---|---|\n{steps}\n\n**Lessons**\n\n"
            f"{lessons or '- none was written down; `pipeline-platform recover --lessons`'}\n"
        )
    return "".join(parts)


def days_in_words(faults: Sequence[Fault]) -> str:
    """Return the days of the partitions that faults are about; '' where none is named."""
    ranges: Days = tuple(
        sorted({days for one in faults if one.days != ALL_DAYS for days in one.days})
    )
    last = [(first, end - timedelta(days=1)) for first, end in ranges]
    return ", ".join(f"{one}" if one == other else f"{one} to {other}" for one, other in last)


def expected_in_words(expected: ExpectedGreen | None, opened_at: datetime) -> str:
    """Say when it will be green, and from how many times before that is known."""
    if expected is None:
        return "Expected time to green: not known yet, nothing like it was mended before."
    median, longest = (timedelta(minutes=one) for one in (expected.median, expected.longest))
    what = "this cause" if expected.is_same_cause else "what the same command mends"
    took = (
        f"{_span(median)}, once before"
        if expected.count == 1
        else f"{_span(median)} in the median of {expected.count} times, {_span(longest)} at most"
    )
    return (
        f"Expected time to green: about {_instant(opened_at + median)}; from being noticed until "
        f"green {what} took {took}."
    )


def _touched(faults: Sequence[Fault]) -> list[str]:
    """Return the assets that faults are about or reach; a job is none."""
    named = {asset for one in faults for asset in (one.subject, *one.touches)}
    return sorted(asset for asset in named if "/" in asset)


def _dry_run_in_words(remedy: Remedy, dry_run: DryRun | None) -> str:
    if remedy.dry_run is None:
        return "It only reads; nothing is changed by it."
    return f"Dry run: {remedy.dry_run}" if dry_run is None else dry_run.in_words()


def _answer_in_words(incident: Incident, answer_by: datetime) -> str:
    """Say until when somebody must answer; who must at once is passed over a little later."""
    if incident.response_minutes == 0:
        return f"Answer at once; at {_instant(answer_by)} the next on the ladder is told."
    return f"Answer by {_instant(answer_by)}, else the next on the ladder is told."


def _instant(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _span(length: timedelta) -> str:
    minutes = int(length.total_seconds() // 60)
    if minutes < 1:
        return f"{max(0, int(length.total_seconds()))} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
