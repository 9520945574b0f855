"""Drills of the database: killed, full of connections, kept busy by a query that runs away."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import psycopg
import pytest

from pipeline_platform.warehouse import embedded
from tests.assets.content import database_content, lake_content
from tests.drills.drilling import Drilled, moved_clock
from tests.drills.rows import HEALTH, LOOK, OUTSIDE, Fault

ADVISORY = "advisory_performance"
CONNECTIONS = Fault(
    name="database full of connections",
    how="85 sessions of another client that lie idle, of 100 that the server allows",
    alert="check `database_connections`",
    severity="warning",
    route="capacity_thresholds",
    command="pipeline-platform db end --idle-for 1m",
    cadence=f"{HEALTH}, {LOOK}",
    compared="rows of all tables of PostgreSQL before and after",
)


def test_the_database_is_full_of_connections(drill, drilled: Drilled) -> None:
    it = drill(CONNECTIONS)
    before = database_content(drilled.services)
    with ExitStack() as opened:
        for _ in range(85):
            opened.enter_context(psycopg.connect(drilled.services.database.url))
        it.strikes()
        incident = it.is_seen(ADVISORY, by=ADVISORY)
        it.is_mended_by("pipeline-platform db end --idle-for 1s")
        is_green = it.is_green(by=ADVISORY)
    assert (incident.severity, incident.remedy.command) == (it.fault.severity, it.fault.command)
    assert is_green
    assert database_content(drilled.services) == before
