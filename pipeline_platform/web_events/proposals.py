"""History relabelled or scored anew without reading a delivery again (B-10, SW-30, SW-31).

`propose` stages silver of each date with other labels or scores beside the table and says what
that would change; nobody sees it. `publish` makes all dates visible in one commit and requests
what is made from them, `discard` throws the staged files away. Either may be killed at any
instruction and started again. A date that was rewritten in between is judged again.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from pipeline_platform.code_version import code_version
from pipeline_platform.failures import (
    AuditFailedError,
    BadInputError,
    ConflictError,
    NotFoundError,
    PermanentError,
    PlatformError,
)
from pipeline_platform.lake.lake import ATTEMPTS
from pipeline_platform.lake.proposals import (
    PartitionsChangedError,
    ProposedLake,
    publish_partitions,
)
from pipeline_platform.lake.publications import RUN_ID, Publication
from pipeline_platform.lake.staging import Staged
from pipeline_platform.partition_ranges import dates_in, partition_key
from pipeline_platform.quality.audit import objections_to
from pipeline_platform.quality.validation import validate
from pipeline_platform.warehouse import control
from pipeline_platform.warehouse.locks import named_lock
from pipeline_platform.warehouse.proposals import (
    PENDING,
    Part,
    Proposal,
    State,
    begin_proposal,
    drop_part,
    find_proposal,
    move_proposal,
    parts_of,
    put_part,
    report_proposal,
)
from pipeline_platform.warehouse.stops import require_running
from pipeline_platform.web_events.bot_behaviour import label_version
from pipeline_platform.web_events.effects import MartEffects, effects, plain
from pipeline_platform.web_events.refinement import contract, reading_of
from pipeline_platform.web_events.relabelling import Change, Comparison, relabelled
from pipeline_platform.web_events.run_context import RunContext
from pipeline_platform.web_events.scoring import score_version
from pipeline_platform.web_events.tables import PIPELINE, RAW_EVENTS, WEB_EVENTS

CHANGES: tuple[Change, ...] = ("labels", "scores")
TABLE_NAME = f"{WEB_EVENTS.layer}/{WEB_EVENTS.name}"
_VERSIONS: Mapping[Change, str] = {"labels": "bot_list_version", "scores": "score_version"}


@dataclass(frozen=True)
class Published:
    """What became visible: the commit, its dates, and those that were judged again before it.

    No commit, if other runs had published all dates with these rules meanwhile. `requested` are
    the dates of which anything but the versions differs.
    """

    publication: Publication | None
    partitions: tuple[date, ...]
    judged_again: tuple[date, ...]
    requested: tuple[date, ...]


def versions_of(run: RunContext, changes: Collection[Change]) -> dict[str, str]:
    """Return by column the versions that rows get which `run` labels and scores."""
    reading = reading_of(run)
    versions = {
        "bot_list_version": label_version(reading.bot_list, reading.behaviour),
        "score_version": score_version(reading.score, reading.known_event_types),
    }
    return {_VERSIONS[one]: versions[_VERSIONS[one]] for one in CHANGES if one in changes}


def propose(
    run: RunContext,
    changes: Collection[Change] = CHANGES,
    *,
    first: date | None = None,
    last: date | None = None,
    marts: MartEffects,
) -> Proposal:
    """Stage every published date that other rules labelled or scored, and keep what would change.

    `run` has the runbook and bot rules to try; its id becomes the proposal's. Dates are worked on
    one after the other, each in bounded memory. Raises NotFoundError when no date has other
    labels or scores, BadInputError when bronze does not hold the records of a date any more.
    """
    wanted = versions_of(run, changes)
    services, proposal_id = run.services, run.run_id
    days = _days_with_others(run, wanted, first, last)
    if not days:
        raise NotFoundError(
            "No published day has other labels or scores than the rules give; there is nothing "
            "to propose."
        )
    chosen = [one for one in CHANGES if one in changes]
    with services.database.transaction() as connection:
        begin_proposal(
            connection,
            proposal_id,
            PIPELINE,
            TABLE_NAME,
            made_with={"versions": wanted, "changes": chosen},
            now=run.now(),
        )
    try:
        report = {**_stage_days(run, days, changes), **_effects(run, marts)}
    except PlatformError:
        discard(run, proposal_id)
        raise
    with services.database.transaction() as connection:
        report_proposal(connection, proposal_id, plain(report), now=run.now())
        return find_proposal(connection, PIPELINE, proposal_id)


def publish(run: RunContext, proposal_id: str) -> Published:
    """Make a proposal's dates visible in one commit, and request what is made from them.

    `run` has the rules in force. A date that was rewritten since it was compared is judged again
    first. Whoever publishes again after a kill goes on. Raises StoppedError while the pipeline is
    stopped, PermanentError for a proposal that is not ready or was made by other rules than are
    in force, AuditFailedError when a date breaks its contract.
    """
    database = run.services.database
    require_running(database, PIPELINE)
    with database.connection() as connection:
        proposal = find_proposal(connection, PIPELINE, proposal_id)
    changes = proposal.made_with["changes"]
    if versions_of(run, changes) != proposal.made_with["versions"]:
        raise PermanentError(
            f"The proposal {proposal_id} was made by other rules than are in force; put them in "
            "place first (bots/*.yaml, rulings of runbook.yaml), or days that are processed later "
            "would get other labels."
        )
    objections = (proposal.report or {}).get("objections", [])
    if objections:
        raise AuditFailedError(f"The proposal {proposal_id} can't be published: {objections[0]}.")
    owner = dataclasses.replace(run, run_id=proposal_id)
    with named_lock(database, f"proposal {proposal_id}"):
        _announce(run, proposal_id, is_done=False)
        publication, judged_again = _publish_judged(owner, proposal_id, changes)
        partitions, requested = _announce(run, proposal_id, is_done=True)
    return Published(publication, partitions, judged_again, requested)


def discard(run: RunContext, proposal_id: str) -> None:
    """Throw a proposal and its staged files away; PermanentError once its dates are visible."""
    services = run.services
    with named_lock(services.database, f"proposal {proposal_id}"):
        is_visible = any(
            one.properties.get(RUN_ID) == proposal_id for one in services.lake.snapshots(WEB_EVENTS)
        )
        with services.database.transaction() as connection:
            find_proposal(connection, PIPELINE, proposal_id)
            parts = parts_of(connection, proposal_id)
            states: tuple[State, ...] = ("BUILDING", "READY") if is_visible else PENDING
            move_proposal(connection, proposal_id, states, "DISCARDED", now=run.now())
    # Files that a kill leaves from here on are orphans, which maintenance removes.
    files = tuple(path for part in parts for path in part.staged_files)
    services.lake.discard(Staged(WEB_EVENTS, files, 0, proposal_id, proposal_id))


def proposed_run(run: RunContext, parts: Sequence[Part]) -> RunContext:
    """Return the same run over a lake that shows a proposal's dates as if they were published."""
    lake = ProposedLake(run.services.lake, WEB_EVENTS, parts)
    return dataclasses.replace(run, services=run.services.with_lake(lake))


def _days_with_others(
    run: RunContext, wanted: Mapping[str, str], first: date | None, last: date | None
) -> list[date]:
    """Return the published days of which any row was made with other versions."""
    lake = run.services.lake
    days = [
        day
        for day in dates_in(lake.partitions(WEB_EVENTS))
        if (first is None or day >= first) and (last is None or day <= last)
    ]
    others = " OR ".join(f"{column} <> '{version}'" for column, version in wanted.items())
    found = []
    with run.services.connect() as engine:
        for day in days:
            rows = lake.relation(engine, WEB_EVENTS, months=(day, day))
            if rows.filter(others).limit(1).fetchone() is not None:
                found.append(day)
    return found


def _stage_days(
    run: RunContext, days: Sequence[date], changes: Collection[Change]
) -> dict[str, Any]:
    """Stage dates one after the other, enter each, and return how all of them differ."""
    objections: list[str] = []
    with run.services.connect() as totals:
        comparison = Comparison(totals)
        for day in days:
            part, found = _judge_day(run, day, changes, comparison)
            objections += found
            with run.services.database.transaction() as connection:
                put_part(connection, run.run_id, part)
        return {**comparison.result().as_plain(), "objections": objections}


def _judge_day(
    run: RunContext, day: date, changes: Collection[Change], comparison: Comparison
) -> tuple[Part, list[str]]:
    """Stage one date as `run` labels and scores it; return it and what forbids its publication."""
    lake = run.services.lake
    pinned = lake.pin(WEB_EVENTS, months=(day, day))
    with run.services.connect() as engine:
        silver = engine.sql(pinned.query)
        bronze = lake.relation(engine, RAW_EVENTS, months=(day, day))
        rows = relabelled(engine, silver, bronze, reading_of(run), changes)
        staged = lake.stage(WEB_EVENTS, rows, run_id=run.run_id, partition=partition_key(day))
        if staged.row_count != pinned.row_count:
            lake.discard(staged)
            raise BadInputError(
                f"Bronze holds the records of {staged.row_count} of the {pinned.row_count} events "
                f"that are published for {day}; process the day before it is scored again."
            )
        after = lake.staged_relation(engine, staged)
        is_changed = comparison.add(engine, silver, after)
        audit = {WEB_EVENTS.name: validate(contract(), after, now=run.now())}
    return Part(day, pinned.files, staged.files, is_changed), objections_to(audit, [])


def _publish_judged(
    run: RunContext, proposal_id: str, changes: Collection[Change]
) -> tuple[Publication | None, tuple[date, ...]]:
    """Publish what is staged; judge dates again that others rewrote, until none did."""
    database = run.services.database
    properties = {"code_version": code_version(), **versions_of(run, changes)}
    judged_again: set[date] = set()
    for _ in range(ATTEMPTS):
        with database.connection() as connection:
            parts = parts_of(connection, proposal_id)
        if not parts:
            return None, tuple(sorted(judged_again))
        try:
            publication = publish_partitions(
                run.services.lake, WEB_EVENTS, parts, run_id=proposal_id, properties=properties
            )
        except PartitionsChangedError as error:
            for day in error.partitions:
                _judge_again(run, day, changes)
            judged_again.update(error.partitions)
        else:
            return publication, tuple(sorted(judged_again))
    raise ConflictError(
        f"Days of the proposal {proposal_id} were rewritten {ATTEMPTS} times while it was to be "
        "published; publish it again when the runs over them have ended."
    )


def _judge_again(run: RunContext, day: date, changes: Collection[Change]) -> None:
    """Stage a rewritten date anew; it leaves the proposal if it needs no other labels any more."""
    database, proposal_id = run.services.database, run.run_id
    if not _days_with_others(run, versions_of(run, changes), day, day):
        with database.transaction() as connection:
            drop_part(connection, proposal_id, day)
        return
    with run.services.connect() as totals:
        part, objections = _judge_day(run, day, changes, Comparison(totals))
    if objections:
        raise AuditFailedError(f"The day {day} can't be published as proposed: {objections[0]}.")
    with database.transaction() as connection:
        put_part(connection, proposal_id, part)


def _announce(
    run: RunContext, proposal_id: str, *, is_done: bool
) -> tuple[tuple[date, ...], tuple[date, ...]]:
    """Record that publication begins or is done; request the dates of which anything differs.

    Requested before the commit too: a kill right after it must not leave old marts unnoticed.
    """
    with run.services.database.transaction() as connection:
        parts = parts_of(connection, proposal_id)
        states: tuple[State, ...] = ("PUBLISHING",) if is_done else ("READY", "PUBLISHING")
        state: State = "PUBLISHED" if is_done else "PUBLISHING"
        move_proposal(connection, proposal_id, states, state, now=run.now())
        requested = tuple(part.partition for part in parts if part.is_changed)
        keys = map(partition_key, requested)
        control.request_partitions(connection, PIPELINE, keys, run.now())
    return tuple(part.partition for part in parts), requested


def _effects(run: RunContext, marts: MartEffects) -> dict[str, Any]:
    """Return what the proposal would change in the marts and in the outcomes of checks."""
    with run.services.database.connection() as connection:
        parts = parts_of(connection, run.run_id)
    proposed = proposed_run(run, parts)
    days = [part.partition for part in parts if part.is_changed]
    return effects(run, proposed, days, marts)
