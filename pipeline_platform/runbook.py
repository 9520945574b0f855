"""The model of `runbook.yaml`: every number that an operator may change, read and checked once.

A threshold stands in exactly one place, a pipeline's `runbook.yaml`; checks, alert routes,
freshness policies, schedules and pages are derived from the objects of this module (XC-1).
"""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import AwareDatetime, ConfigDict, Field, ValidationError, model_validator

from pipeline_platform.failures import InvalidRunbookError
from pipeline_platform.quality.strict_yaml import read_yaml
from pipeline_platform.quality.thresholds import (
    Band,
    Dimension,
    Part,
    Remedy,
    Severity,
    Threshold,
)
from pipeline_platform.settings import Environment
from pipeline_platform.streams.reading import Limits

__all__ = [
    "Alerting",
    "Alerts",
    "ArrivalLimits",
    "Band",
    "Contact",
    "DeliveryLimits",
    "Dimension",
    "Freshness",
    "Maintenance",
    "MessageBudget",
    "Remedy",
    "ReportName",
    "Reports",
    "Route",
    "Rulings",
    "Runbook",
    "Schedule",
    "SecuredThings",
    "Sensor",
    "Severity",
    "Threshold",
]

ReportName = Literal["morning_check", "end_of_day", "weekly_report", "monthly_review"]
"""The four pages that every pipeline has (XC-13)."""
ROWS_PER_DAY = r"^[a-z][a-z0-9_]*/(bronze|silver|gold)/[a-z][a-z0-9_]*/rows_per_day$"


class Contact(Part):
    """Who is told: a team and its channels (SA-100).

    Who is next on the ladder is told after `answers_within_minutes`, if that is given (SW-67),
    else after the response time of the alert.
    """

    title: str = Field(pattern=r"[A-Za-z]{2}")
    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    slack: str = Field(pattern=r"^#\S+$")
    phone: Literal["emergency_only", "never"] = "never"
    answers_within_minutes: int | None = Field(default=None, ge=1)


class Route(Part):
    """Where an alert of one kind goes, and what mends it.

    `ladder` names contacts in order of escalation (X-14), `channels` the ways on which each is
    told; PLATFORM_CHANNELS has their addresses. `remedy` is the command of its messages. Whoever is
    told must answer within `response_minutes` (0 = at once), else as `responses` say.
    """

    title: str
    severity: Severity
    requirements: list[str] = Field(min_length=1)
    ladder: list[str] = Field(min_length=1)
    channels: list[str] = Field(min_length=1)
    remedy: Remedy
    response_minutes: int | None = Field(default=None, ge=0)


class MessageBudget(Part):
    """How many messages of a route are sent one by one; the others come as a digest (B-12)."""

    count: int = Field(ge=1)
    days: int = Field(ge=1)
    digest_minutes: int = Field(ge=1)


class ServiceLevel(Part):
    """What is promised: availability in percent, and minutes until a cause is mended."""

    requirements: list[str] = Field(default_factory=list)
    availability_pct: float = Field(gt=0, lt=100)
    recovery_minutes: int = Field(ge=1)


class StepLimit(Part):
    """How many percent of the steps of runs may fail, or how many seconds they may take.

    Counted over a window by Prometheus, which tells it once it has been so for `for_minutes`; the
    window must be longer than the time between two runs (D-13).
    """

    requirements: list[str] = Field(min_length=1)
    limit: float = Field(gt=0)
    window_minutes: int = Field(ge=1)
    minimum_sample: int = Field(ge=1)
    for_minutes: int = Field(ge=0)


class PrometheusAlerts(Part):
    """What Prometheus watches by itself, also while Dagster is down (SP-10 to SP-13).

    It goes where what is overdue goes. `slow_steps` limits the 95th percentile.
    """

    stale_for_minutes: int = Field(ge=0)
    failed_steps: StepLimit
    slow_steps: StepLimit


class StuckRuns(Part):
    """From when on a run that has not ended is told, to whom, and what ends it."""

    requirements: list[str] = Field(min_length=1)
    route: str
    after_minutes: int = Field(ge=1)
    remedy: Remedy


class Review(Part):
    """After how many days without a change somebody looks the runbook over (SA-101, SW-69)."""

    requirements: list[str] = Field(min_length=1)
    every_days: int = Field(ge=1)


class Alerts(Part):
    """The routes of what is no threshold, and how much is told to whom.

    `failed_runs` and `capacity` are routes; `contracts` and `overdue` are routes by severity: of a
    failed expectation, and of an asset that is late (critical) or soon will be (warning).
    `failed_ingests` stands in for the route's command where taking in files failed. Whoever
    `database` names is told when the database itself does not answer, whoever `daemon` names when
    Dagster's daemon is silent, and whoever `health` names when anything else does not work that
    `GET /health` asks. Nobody is passed over before `escalates_after_minutes`, also where an answer
    is wanted at once.
    """

    failed_runs: str
    failed_ingests: Remedy | None = None
    capacity: str
    database: str | None = None
    daemon: str | None = None
    health: str | None = None
    stuck_runs: StuckRuns
    contracts: dict[Severity, str]
    overdue: dict[Severity, str]
    escalates_after_minutes: int = Field(ge=1)
    budget: MessageBudget
    service_level: ServiceLevel
    prometheus: PrometheusAlerts

    @property
    def routes(self) -> list[tuple[str, str, Severity | None]]:
        """What is routed, the route's name, and the severity that it must have (None = any)."""
        return [
            ("failed_runs", self.failed_runs, None),
            ("capacity", self.capacity, None),
            *([("database", self.database, None)] if self.database else []),
            *([("daemon", self.daemon, None)] if self.daemon else []),
            *([("health", self.health, None)] if self.health else []),
            ("stuck_runs", self.stuck_runs.route, None),
            *((f"contracts.{one}", name, one) for one, name in self.contracts.items()),
            *((f"overdue.{one}", name, one) for one, name in self.overdue.items()),
        ]


class Alerting(Part):
    """Who is told of what: the part that a pipeline's runbook and the platform's plan share."""

    pipeline: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    responses: dict[Severity, int]
    contacts: dict[str, Contact] = Field(min_length=1)
    routes: dict[str, Route] = Field(min_length=1)
    alerts: Alerts

    @model_validator(mode="after")
    def _every_route_has_a_person(self) -> Self:
        for name, route in self.routes.items():
            unknown = [person for person in route.ladder if person not in self.contacts]
            if unknown:
                raise ValueError(f"route {name} names the unknown contact {unknown[0]}")
            if route.severity not in self.responses:
                raise ValueError(f"route {name} is {route.severity}, which has no response time")
        for what, name, severity in self.alerts.routes:
            known = self.routes.get(name)
            if known is None or severity not in {None, known.severity}:
                raise ValueError(
                    f"alerts.{what} needs a {severity or 'known'} route, but {name} is not one"
                )
        for wanted in ("critical", "warning"):
            if wanted not in self.alerts.contracts or wanted not in self.alerts.overdue:
                raise ValueError(f"alerts.contracts and alerts.overdue need a {wanted} route")
        return self

    def route_named(self, name: str) -> Route:
        """Return a route; for a name that is not in the runbook any more, that of failed runs.

        An incident may be older than the runbook: whoever renames a route must not silence it.
        """
        return self.routes.get(name) or self.routes[self.alerts.failed_runs]

    def response_minutes(self, name: str) -> int:
        """Return within how many minutes somebody must have answered what goes to a route."""
        route = self.route_named(name)
        own = route.response_minutes
        return self.responses[route.severity] if own is None else own

    def waits_minutes(self, route: str, level: int, response_minutes: int) -> int:
        """Return how long the contact at a level of the ladder has to answer."""
        contact = self.contacts[self.route_named(route).ladder[level]]
        return contact.answers_within_minutes or max(
            response_minutes, self.alerts.escalates_after_minutes
        )


class _Started(Part):
    title: str
    requirements: list[str] = Field(default_factory=list)
    environments: dict[Environment, Literal["running", "stopped"]]

    def is_running(self, environment: Environment) -> bool:
        """Tell whether it is on in this environment; there is no default, so else it is off."""
        return self.environments.get(environment) == "running"


class Schedule(_Started):
    """When a job starts; an environment that isn't listed keeps the schedule stopped."""

    cron: str = Field(pattern=r"^\S+ \S+ \S+ \S+ \S+$")
    timezone: str = "UTC"


MUTATION_SCORE = "mutation_score"
"""The threshold by which the checks are judged themselves."""


class Mutations(Schedule):
    """When the checks are checked, on copies of at most so many rows of each table (B-15)."""

    sampled_rows: int = Field(ge=1)


class Sensor(_Started):
    """How often a sensor looks; an environment that isn't listed keeps the sensor stopped."""

    interval_seconds: int = Field(ge=1)


class ShownTable(Part):
    """A table by day (`layer/noun`) of which these columns stand on the pages."""

    table: str = Field(pattern=r"^(silver|gold)/[a-z][a-z0-9_]*$")
    columns: list[str] = Field(min_length=1)


class Reports(Part):
    """The pages of a pipeline: when each is made, and what only this pipeline shows (XC-13).

    What waits for longer than `late_after_minutes` is late. `growing_tables` are PostgreSQL's,
    whose rows and size by month of `created_at` the monthly review tells (SA-48).
    `proposal_command` shows a `{proposal}` that waits for a decision, where there are any.
    """

    late_after_minutes: int = Field(ge=1)
    proposal_command: str | None = Field(default=None, pattern=r"^pipeline-platform \S")
    growing_tables: list[str] = Field(default_factory=list)
    tables: list[ShownTable] = Field(default_factory=list)
    pages: dict[ReportName, Schedule]

    @model_validator(mode="after")
    def _has_every_page(self) -> Self:
        missing = [name for name in get_args(ReportName) if name not in self.pages]
        if missing:
            raise ValueError(f"pages lacks {missing[0]}")
        return self


class SecuredThings(Part):
    """What of AWS a pipeline uses, by name: the security review looks at it (XC-12).

    Breaches of these are told on the pipeline's own `route`; without one, by the platform's people.
    """

    route: str | None = None
    roles: list[str] = Field(default_factory=list)
    buckets: list[str] = Field(default_factory=list)
    trails: list[str] = Field(default_factory=list)
    secrets: list[str] = Field(default_factory=list)


class Freshness(Part):
    """How old an asset may be: a time window, or a deadline on a cron with its look-back."""

    requirements: list[str] = Field(min_length=1)
    warn_minutes: int | None = Field(default=None, ge=1)
    fail_minutes: int | None = Field(default=None, ge=1)
    deadline_cron: str | None = None
    lower_bound_minutes: int | None = Field(default=None, ge=1)
    timezone: str = "UTC"

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        is_window, is_cron = self.fail_minutes is not None, self.deadline_cron is not None
        if is_window == is_cron:
            raise ValueError("give either fail_minutes or deadline_cron")
        if is_cron != (self.lower_bound_minutes is not None):
            raise ValueError("deadline_cron and lower_bound_minutes belong together")
        if self.warn_minutes is not None and (
            self.fail_minutes is None or self.warn_minutes >= self.fail_minutes
        ):
            raise ValueError("warn_minutes must be less than fail_minutes")
        return self


class ArrivalLimits(Part):
    """How much one run of the arrival sensor may take."""

    max_files: int = Field(ge=1)
    max_bytes: int = Field(ge=1)


class CapacityLimit(Part):
    """How far something may grow; `capacity` says when it will have (SW-66)."""

    limit: float = Field(gt=0)
    requirements: list[str] = Field(min_length=1)


class CloudWatch(Part):
    """Names in AWS CloudWatch: where figures go, the dashboard, and series that are sent by day.

    `series` has the name of a metric and what it is: `pipeline/layer/noun/rows_per_day` (SW-65).
    Nothing else can be sent by day.
    """

    namespace: str = Field(pattern=r"^[A-Za-z0-9/_.#-]{1,255}$")
    dashboard: str = Field(pattern=r"^[A-Za-z0-9_-]{1,255}$")
    series: dict[str, Annotated[str, Field(pattern=ROWS_PER_DAY)]] = Field(default_factory=dict)


class StreamReading(Part):
    """How a pipeline reads its stream: where it begins and how much one batch and run may take.

    `start` is TRIM_HORIZON (all that the stream still keeps) or an instant with its offset; it
    counts only for shards that have no position yet.
    """

    start: Literal["TRIM_HORIZON"] | AwareDatetime
    max_records: int = Field(ge=1)
    max_bytes: int = Field(ge=1)
    max_seconds: float = Field(gt=0)
    max_batches: int = Field(ge=1)

    @property
    def limits(self) -> Limits:
        """Where one batch ends."""
        return Limits(self.max_records, self.max_bytes, self.max_seconds)


class DeliveryLimits(Part):
    """What a delivered file may hold before it is refused."""

    max_line_bytes: int = Field(ge=1)


class CompactionLimits(Part):
    """From how many files on a partition is rewritten, which are small, how large the new are."""

    min_files: int = Field(ge=2)
    small_file_mb: int = Field(ge=1)
    target_file_mb: int = Field(ge=1)

    @model_validator(mode="after")
    def _new_files_are_not_small(self) -> Self:
        if self.target_file_mb <= self.small_file_mb:
            raise ValueError("target_file_mb must be more than small_file_mb")
        return self


class SnapshotRetention(Part):
    """How long a snapshot can be read and restored: so many days, and always so many of them.

    But at most so many: of a table that is committed to every minute, days would make metadata
    that slow each commit down. Those beyond that number go a day after they were superseded.

    Days count from when the next one took its place. At least one day, which is longer than the
    longest run (`max_runtime_seconds` in dagster.yaml): a run that is repeated finds what it
    published, a reader what it opened.
    """

    snapshots_kept_days: int = Field(ge=1)
    snapshots_kept_count: int = Field(ge=1)
    snapshots_kept_most: int = Field(ge=1)

    @model_validator(mode="after")
    def _most_is_more(self) -> Self:
        if self.snapshots_kept_most < self.snapshots_kept_count:
            raise ValueError("snapshots_kept_most must be at least snapshots_kept_count")
        return self


class Maintenance(SnapshotRetention):
    """How a pipeline's tables are kept (B-13); `tables` has exceptions by layer/noun.

    A proposal that nobody decides on for `proposals_kept_days` is given up (B-10).
    """

    orphans_kept_days: int = Field(ge=1)
    staging_kept_days: int = Field(ge=1)
    proposals_kept_days: int = Field(ge=1)
    compaction: CompactionLimits
    tables: dict[str, SnapshotRetention] = Field(default_factory=dict)

    def retention(self, layer: str, name: str) -> SnapshotRetention:
        """Return the retention of one table."""
        return self.tables.get(f"{layer}/{name}", self)


class Rulings(Part):
    """Settings that decide how a pipeline reads an open question of its runbook.

    Here stand those that the platform itself needs. A pipeline's own model adds the rest and
    forbids what it does not know; read without it, the rest is ignored.
    """

    model_config = ConfigDict(extra="ignore")

    minimum_samples: dict[str, int]
    quarantine_kept_days: int = Field(ge=1)
    archive_kept_days: int = Field(ge=1)
    checks_expected_every_minutes: int = Field(ge=1)
    measured_every_minutes: int = Field(ge=1)
    accepted_gaps: dict[str, str] = Field(default_factory=dict)
    temp_kept_days: int = Field(ge=1)
    arrivals: ArrivalLimits
    deliveries: DeliveryLimits

    @model_validator(mode="after")
    def _samples_are_counts(self) -> Self:
        for name, count in self.minimum_samples.items():
            if count < 1:
                raise ValueError(f"minimum_samples.{name} must be at least 1")
        return self

    def in_words(self) -> list[tuple[str, str]]:
        """Return what is ruled and how, for the pipeline's page; a pipeline puts its own first."""
        return [
            (
                "one request of the arrival sensor",
                f"{self.arrivals.max_files} files or {self.arrivals.max_bytes:,} bytes",
            ),
            ("longest line", f"{self.deliveries.max_line_bytes:,} bytes"),
            ("a check is overdue after", f"{self.checks_expected_every_minutes} minutes"),
            ("not measurable is a gap after", f"{self.measured_every_minutes} minutes"),
            ("accepted gaps", ", ".join(self.accepted_gaps) or "none"),
        ]


class Runbook(Alerting):
    """One pipeline's runbook, with every cross-reference checked.

    A pipeline derives its own, whose `rulings` are its own model. `score_weights` are the shares
    of the quality dimensions in an overall score; a pipeline that scores otherwise has none.
    `capacity` gives limits by the name of a series, such as
    `web_events/silver/web_events/rows_per_day` or `database/bytes`.
    """

    title: str
    description: str = ""
    review: Review
    rulings: Rulings
    maintenance: Maintenance
    score_weights: dict[Dimension, float] = Field(default_factory=dict)
    schedules: dict[str, Schedule]
    reports: Reports
    mutations: Mutations | None = None
    security: SecuredThings = Field(default_factory=SecuredThings)
    sensors: dict[str, Sensor] = Field(default_factory=dict)
    freshness: dict[str, Freshness]
    thresholds: dict[str, Threshold] = Field(min_length=1)
    capacity: dict[str, CapacityLimit] = Field(default_factory=dict)
    cloudwatch: CloudWatch
    source_sha256: str

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a runbook; raise InvalidRunbookError that names the file and the field."""
        try:
            document = read_yaml(path)
            source_sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            if not isinstance(document, dict):
                raise TypeError("it must be a YAML mapping")  # noqa: TRY301 -- told below
            return cls.model_validate({**_resolved(document), "source_sha256": source_sha256})
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InvalidRunbookError(f"{path} can't be read: {error}") from error
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise InvalidRunbookError(f"{path}: {field or 'runbook'}: {first['msg']}.") from None
        except (AttributeError, TypeError, ValueError) as error:
            raise InvalidRunbookError(f"{path} is not built as a runbook is: {error}.") from error

    @model_validator(mode="after")
    def _check_references(self) -> Self:
        for threshold in self.thresholds.values():
            for band in threshold.bands:
                known = self.routes.get(band.route)
                if known is None or known.severity != band.severity:
                    raise ValueError(
                        f"threshold {threshold.name} needs a {band.severity} route, "
                        f"but {band.route} is not one"
                    )
        for name, why in self.rulings.accepted_gaps.items():
            if name not in self.thresholds or not why.strip():
                raise ValueError(
                    f"accepted_gaps.{name} must name a threshold and say why it is not measured"
                )
        if (self.mutations is None) != (MUTATION_SCORE not in self.thresholds):
            raise ValueError(f"mutations and the threshold {MUTATION_SCORE} need each other")
        if self.security.route is not None and self.security.route not in self.routes:
            raise ValueError(f"security.route {self.security.route} is not one of the routes")
        if self.score_weights and abs(sum(self.score_weights.values()) - 1) > 1e-9:
            raise ValueError("score_weights must add up to 1")
        return self

    @property
    def blocking_thresholds(self) -> list[Threshold]:
        """The thresholds that decide whether silver may be published."""
        return [
            one for one in self.thresholds.values() if one.is_blocking and one.stage == "silver"
        ]

    @cached_property
    def requirements(self) -> frozenset[str]:
        """All requirement rows that a threshold of this runbook answers."""
        return frozenset(row for t in self.thresholds.values() for row in t.requirements)


def _answered_within(document: dict[str, Any], band: dict[str, Any]) -> int | None:
    """Return the response time of a band's route, else of its severity."""
    route = (document.get("routes") or {}).get(band.get("route")) or {}
    responses = document.get("responses") or {}
    return route.get("response_minutes", responses.get(band.get("severity")))


def _resolved(document: dict[str, Any]) -> dict[str, Any]:
    """Fill what a threshold takes from elsewhere: name, response time, sample, shared bands.

    A limit that is the name of a promise of `service_level` is that number, and `slow_step_seconds`
    is the limit of `prometheus.slow_steps`.
    """
    samples = (document.get("rulings") or {}).get("minimum_samples") or {}
    alerts = document.get("alerts") or {}
    slow_steps = (alerts.get("prometheus") or {}).get("slow_steps") or {}
    promised = {**(alerts.get("service_level") or {}), "slow_step_seconds": slow_steps.get("limit")}
    raw: dict[str, dict[str, Any]] = document.get("thresholds") or {}
    thresholds = {}
    for name, given in raw.items():
        pipeline = str(document.get("pipeline"))
        is_shared = pipeline not in str(given.get("asset")).split("/")
        check = f"{pipeline}_{name}" if is_shared else name
        threshold = {**given, "name": name, "check": check}
        other = threshold.pop("same_bands_as", None)
        if other is not None:
            if other not in raw or "bands" not in raw[other]:
                raise ValueError(f"threshold {name} takes its bands from {other}, which has none")
            threshold["bands"] = raw[other]["bands"]
        threshold["bands"] = [
            {
                "response_minutes": _answered_within(document, band),
                **band,
                "limit": promised.get(band.get("limit"), band.get("limit")),
            }
            for band in threshold.get("bands") or []
        ]
        sample = threshold.get("minimum_sample")
        threshold["minimum_sample"] = samples.get(sample, sample)
        thresholds[name] = threshold
    return {**document, "thresholds": thresholds}
