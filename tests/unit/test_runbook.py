"""What a runbook may say, and what advisory_performance's runbook does say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform import advisory_performance
from pipeline_platform.advisory_performance.rulings import (
    Runbook,
    ToleranceOverride,
    Tolerances,
)
from pipeline_platform.failures import InvalidRunbookError
from pipeline_platform.operations.plan import alertings

RUNBOOK = Path(advisory_performance.__file__).parent / "runbook.yaml"
REQUIRED_ROWS = {
    *("SA-12", "SA-13", "SA-14", "SA-15", "SA-16", "SA-62"),
    *("SA-80", "SA-82", "SA-83", "SA-84", "SA-85", "SA-86", "SA-87"),
    *("X-1", "X-2", "X-3", "X-6", "X-11"),
}


@pytest.fixture(scope="module")
def runbook() -> Runbook:
    return Runbook.load(RUNBOOK)


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], object]], Path]:
    """Write the shipped runbook with one change."""

    def write(change: Callable[[dict[str, Any]], object]) -> Path:
        document = yaml.safe_load(RUNBOOK.read_text())
        change(document)
        path = tmp_path / "runbook.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    return write


def test_every_required_row_has_a_threshold(runbook: Runbook) -> None:
    assert REQUIRED_ROWS - runbook.requirements == set()


def test_every_asset_of_a_threshold_belongs_to_the_pipeline(runbook: Runbook) -> None:
    own = [t for t in runbook.thresholds.values() if t.stage not in {"cost", "recovery", "checks"}]
    assets = {t.asset for t in own}
    assert {asset.split("/")[0] for asset in assets} == {runbook.pipeline}


def test_two_pipelines_may_state_the_same_rule_on_what_they_share(
    changed: Callable[[Callable[[dict[str, Any]], object]], Path], runbook: Runbook
) -> None:
    other = Runbook.load(changed(lambda document: document.update(pipeline="others")))
    names = [
        (one.asset, one.check)
        for each in (runbook, other)
        for one in each.thresholds.values()
        if one.stage in {"cost", "recovery"}
    ]
    assert len(names) == len(set(names))


def test_rules_on_recovery_judge_backups_and_drills_of_all_pipelines(runbook: Runbook) -> None:
    assets = {t.asset for t in runbook.thresholds.values() if t.stage == "recovery"}
    assert assets == {"operations/recovery/backups", "operations/recovery/drill"}


def test_what_judges_the_checks_is_the_pipelines_own_asset(runbook: Runbook) -> None:
    assets = {t.asset for t in runbook.thresholds.values() if t.stage == "checks"}
    assert assets == {f"operations/mutations/{runbook.pipeline}"}


def test_mutations_without_their_limit_are_refused(changed) -> None:
    path = changed(lambda document: document["thresholds"].pop("mutation_score"))
    with pytest.raises(InvalidRunbookError, match="mutations and the threshold mutation_score"):
        Runbook.load(path)


def test_rules_on_cost_judge_the_cost_of_all_pipelines(runbook: Runbook) -> None:
    assets = {t.asset for t in runbook.thresholds.values() if t.stage == "cost"}
    assert assets == {"operations/cost/daily_cost"}


def test_the_morning_check_runs_at_nine_utc_every_day(runbook: Runbook) -> None:
    schedule = runbook.schedules["morning_health_check"]
    assert (schedule.cron, schedule.timezone) == ("0 9 * * *", "UTC")


def test_partitions_made_ahead_are_guarded_at_six_utc_every_day(runbook: Runbook) -> None:
    assert runbook.schedules["months_made_ahead"].cron == "0 6 * * *"


def test_an_environment_that_is_not_listed_keeps_a_schedule_stopped(runbook: Runbook) -> None:
    assert not runbook.schedules["vendor_quiet"].is_running("test")


def test_a_listed_environment_runs_a_schedule(runbook: Runbook) -> None:
    assert runbook.schedules["vendor_quiet"].is_running("production")


def test_gold_and_serving_have_a_freshness(runbook: Runbook) -> None:
    assert {key.split("/")[1] for key in runbook.freshness} == {"gold", "serving"}


def test_critical_is_answered_at_once_and_a_warning_in_four_hours(runbook: Runbook) -> None:
    assert (runbook.responses["critical"], runbook.responses["warning"]) == (0, 240)


def test_a_band_takes_its_response_time_from_its_severity(runbook: Runbook) -> None:
    band = runbook.thresholds["data_quality_score"].bands[0]
    assert band.response_minutes == runbook.responses["warning"]


def test_there_are_four_critical_and_four_warning_routes(runbook: Runbook) -> None:
    severities = [route.severity for route in runbook.routes.values()]
    assert (severities.count("critical"), severities.count("warning")) == (4, 4)


def test_every_route_climbs_from_data_engineering_to_the_cto_office(runbook: Runbook) -> None:
    ladders = {tuple(route.ladder) for route in runbook.routes.values()}
    assert ladders == {("data_engineering", "platform_engineering", "cto_office")}


def test_a_file_stuck_in_processing_has_the_limit_of_a_files_processing(runbook: Runbook) -> None:
    thresholds = runbook.thresholds
    stuck, processing = (
        thresholds[name].bands for name in ("oldest_file_in_processing", "processing_time_per_file")
    )
    assert stuck == processing


def test_a_rate_takes_its_minimum_sample_from_the_rulings(runbook: Runbook) -> None:
    assert runbook.thresholds["pipeline_success_rate"].minimum_sample == 20


def test_the_hash_of_the_file_tells_which_runbook_was_read(changed: Any, runbook: Runbook) -> None:
    other = Runbook.load(changed(lambda d: d.update(title="Other")))
    assert other.source_sha256 != runbook.source_sha256


# --- what is refused -------------------------------------------------------------------------


def _threshold(document: dict[str, Any]) -> dict[str, Any]:
    return document["thresholds"]["data_quality_score"]


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown key": (lambda d: d.update(colour="red"), "colour"),
    "unknown contact on a route": (
        lambda d: d["routes"]["data_corruption"].update(ladder=["nobody"]),
        "unknown contact nobody",
    ),
    "route without a person": (
        lambda d: d["routes"]["data_corruption"].update(ladder=[]),
        r"routes\.data_corruption\.ladder",
    ),
    "contact whose name was left blank": (
        lambda d: d["contacts"]["cto_office"].update(title=" __ "),
        r"contacts\.cto_office\.title",
    ),
    "route without a channel": (
        lambda d: d["routes"]["data_corruption"].update(channels=[]),
        r"routes\.data_corruption\.channels",
    ),
    "route without a response time": (
        lambda d: (
            d["responses"].pop("info"),
            d["thresholds"]["task_latency"]["bands"].pop(0),
            d["routes"]["cost_anomalies"].update(severity="info"),
        ),
        "route cost_anomalies is info, which has no response time",
    ),
    "failed runs that nobody is told of": (
        lambda d: d["alerts"].update(failed_runs="nowhere"),
        r"alerts\.failed_runs needs a known route",
    ),
    "late data on a route of another severity": (
        lambda d: d["alerts"]["overdue"].update(critical="cost_anomalies"),
        r"alerts\.overdue\.critical needs a critical route",
    ),
    "contracts without a critical route": (
        lambda d: d["alerts"]["contracts"].pop("critical"),
        "need a critical route",
    ),
    "command with an unknown place": (
        lambda d: d["routes"]["data_corruption"]["remedy"].update(
            command="pipeline-platform undo {everything}"
        ),
        "has the place 'everything'",
    ),
    "command of another program": (
        lambda d: d["routes"]["data_corruption"]["remedy"].update(command="rm -rf lake"),
        r"remedy\.command",
    ),
    "unknown route": (
        lambda d: _threshold(d)["bands"][0].update(route="nowhere"),
        "nowhere",
    ),
    "route of another severity": (
        lambda d: _threshold(d)["bands"][0].update(route="data_corruption"),
        "needs a warning route",
    ),
    "weights that don't add up": (
        lambda d: d["score_weights"].update(validity=0.5),
        "add up to 1",
    ),
    "bands of a threshold that has none": (
        lambda d: d["thresholds"]["oldest_file_in_processing"].update(same_bands_as="nothing"),
        "takes its bands from nothing",
    ),
    "threshold without a requirement": (
        lambda d: _threshold(d).update(requirements=[]),
        r"data_quality_score\.requirements",
    ),
    "sample that no ruling names": (
        lambda d: _threshold(d).update(minimum_sample="accounts"),
        r"data_quality_score\.minimum_sample",
    ),
    "one end of a range": (
        lambda d: _threshold(d).update(direction="between"),
        "upper_limit",
    ),
    "two bands of a severity": (
        lambda d: _threshold(d)["bands"].append(_threshold(d)["bands"][0]),
        "one band only",
    ),
    "freshness of two kinds": (
        lambda d: d["freshness"]["advisory_performance/gold/reconciliation"].update(fail_minutes=9),
        "either fail_minutes or deadline_cron",
    ),
    "environment that does not exist": (
        lambda d: d["schedules"]["vendor_quiet"].update(environments={"moon": "running"}),
        r"vendor_quiet\.environments",
    ),
    **{
        f"{series!r} by day for CloudWatch": (
            lambda d, series=series: d["cloudwatch"].update(series={"EventsPerDay": series}),
            r"cloudwatch\.series\.EventsPerDay",
        )
        for series in (
            "advisory_performance/gold/reconciliation/bytes",
            "advisory_performance/gold/rows_per_day",
            "gold/reconciliation/of/rows_per_day",
            "advisory_performance/gold/reconciliation/rows_per_day\n",
        )
    },
    "two tolerances for the same": (
        lambda d: d["rulings"]["tolerances"].update(
            overrides=[{"vendor": "a", "tolerance_bps": n} for n in (1, 2)]
        ),
        "same vendor",
    ),
    "tolerance for everybody": (
        lambda d: d["rulings"]["tolerances"].update(overrides=[{"tolerance_bps": 2}]),
        "must name",
    ),
    "thresholds as a list": (lambda d: d.update(thresholds=[1]), "not built as a runbook"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_runbook_is_refused_with(fault: str, changed: Any) -> None:
    change, message = REFUSED[fault]
    with pytest.raises(InvalidRunbookError, match=message):
        Runbook.load(changed(change))


def test_a_threshold_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runbook.yaml"
    path.write_text(RUNBOOK.read_text() + "\n  database_cpu: {}\n")
    with pytest.raises(InvalidRunbookError, match="database_cpu stands twice"):
        Runbook.load(path)


@pytest.mark.parametrize("content", [b"", b"- 1", b"\xff\xfe\x00", b"a: [", b"a: b: c"])
def test_a_file_that_holds_no_runbook_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "runbook.yaml"
    path.write_bytes(content)
    with pytest.raises(InvalidRunbookError, match=r"runbook\.yaml"):
        Runbook.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRunbookError, match=r"nowhere\.yaml"):
        Runbook.load(tmp_path / "nowhere.yaml")


# --- tolerances and materiality ----------------------------------------------------------------


@pytest.mark.parametrize(("period", "bps"), [("daily", 1), ("mtd", 5), ("five_years", 5)])
def test_a_day_may_differ_by_one_basis_point_and_longer_periods_by_five(
    runbook: Runbook, period: str, bps: float
) -> None:
    assert runbook.rulings.tolerances.tolerance_bps("standard", "standard", period) == bps


@given(
    overrides=st.lists(
        st.tuples(
            st.sampled_from([None, "v1", "v2"]),
            st.sampled_from([None, "margin"]),
            st.sampled_from([None, "daily", "mtd"]),
        ).filter(any),
        unique=True,
    )
)
def test_the_most_specific_tolerance_wins(
    overrides: list[tuple[str | None, str | None, str | None]],
) -> None:
    numbered = [
        ToleranceOverride(vendor=v, account_class=c, period=p, tolerance_bps=100 + place)
        for place, (v, c, p) in enumerate(overrides)
    ]
    tolerances = Tolerances(daily_bps=1, longer_bps=5, overrides=numbered)
    ladder = [
        ("v1", "margin", "daily"),
        ("v1", "margin", None),
        ("v1", None, "daily"),
        ("v1", None, None),
        (None, "margin", "daily"),
        (None, "margin", None),
        (None, None, "daily"),
    ]
    expected = next((100 + overrides.index(one) for one in ladder if one in overrides), 1)
    assert tolerances.tolerance_bps("v1", "margin", "daily") == expected


@pytest.mark.parametrize(("period", "bps"), [("daily", 10), ("mtd", 10), ("ytd", 25)])
def test_a_restated_return_is_material_from_ten_or_twentyfive_basis_points(
    runbook: Runbook, period: str, bps: float
) -> None:
    assert runbook.rulings.materiality.limit_bps(period) == bps


def test_a_restated_value_is_material_from_half_a_percent(runbook: Runbook) -> None:
    assert runbook.rulings.materiality.account_value_pct == 0.5


def test_retention_is_as_ruled(runbook: Runbook) -> None:
    rulings = runbook.rulings
    assert (rulings.quarantine_kept_days, rulings.temp_kept_days, rulings.premake_months) == (
        90,
        7,
        3,
    )


def test_a_table_keeps_its_snapshots_as_long_as_the_pipeline_says(runbook: Runbook) -> None:
    found = runbook.maintenance.retention("silver", "valuations")
    assert (found.snapshots_kept_days, found.snapshots_kept_count) == (30, 10)


def test_a_table_may_keep_its_snapshots_longer(
    changed: Callable[[Callable[[dict[str, Any]], object]], Path],
) -> None:
    longer = {"snapshots_kept_days": 90, "snapshots_kept_count": 5, "snapshots_kept_most": 6}
    path = changed(lambda one: one["maintenance"].update(tables={"gold/x": longer}))
    found = Runbook.load(path).maintenance.retention("gold", "x")
    assert (found.snapshots_kept_days, found.snapshots_kept_count) == (90, 5)


@pytest.mark.parametrize(
    "name",
    [
        *("snapshots_kept_days", "snapshots_kept_count", "snapshots_kept_most"),
        *("orphans_kept_days", "proposals_kept_days"),
    ],
)
def test_what_a_running_run_may_need_can_not_be_removed_at_once(
    changed: Callable[[Callable[[dict[str, Any]], object]], Path], name: str
) -> None:
    path = changed(lambda one: one["maintenance"].update({name: 0}))
    with pytest.raises(InvalidRunbookError, match=f"maintenance.{name}"):
        Runbook.load(path)


def test_at_most_so_many_snapshots_can_not_be_fewer_than_always_so_many(
    changed: Callable[[Callable[[dict[str, Any]], object]], Path],
) -> None:
    path = changed(lambda one: one["maintenance"].update(snapshots_kept_most=9))
    with pytest.raises(InvalidRunbookError, match="snapshots_kept_most must be at least"):
        Runbook.load(path)


def test_a_compaction_must_not_make_small_files(
    changed: Callable[[Callable[[dict[str, Any]], object]], Path],
) -> None:
    path = changed(lambda one: one["maintenance"]["compaction"].update(target_file_mb=32))
    with pytest.raises(InvalidRunbookError, match="target_file_mb"):
        Runbook.load(path)


def test_maintenance_starts_on_sundays_at_half_past_three_utc(runbook: Runbook) -> None:
    schedule = runbook.schedules["maintenance"]
    assert (schedule.cron, schedule.timezone) == ("30 3 * * 0", "UTC")


def test_a_day_of_retention_is_longer_than_the_longest_run(request: pytest.FixtureRequest) -> None:
    instance = yaml.safe_load((request.config.rootpath / "dagster.yaml").read_text())
    longest = instance["run_monitoring"]["max_runtime_seconds"]
    retries = instance["run_retries"]["max_retries"]
    assert longest * (1 + retries) < 24 * 3600


@pytest.mark.parametrize(
    ("pipeline", "route"),
    [
        (name, route)
        for name, alerting in alertings().items()
        for route, one in alerting.routes.items()
        if {"SA-89", "SW-59"} & {*one.requirements}
    ],
)
def test_what_a_row_wants_answered_at_once_is(pipeline: str, route: str) -> None:
    """SA-89, X-4."""
    assert alertings()[pipeline].response_minutes(route) == 0


def test_a_route_without_a_time_of_its_own_has_that_of_its_severity() -> None:
    web = alertings()["web_events"]
    assert web.response_minutes("data_lag") == web.responses["critical"]
