"""The lake's tables of advisory_performance: every column, its type and its unit.

Money is `decimal(20,4)` in the currency of its row; a return is a fraction (0.01 is one percent)
as `decimal(18,12)`; differences are in basis points. Bronze keeps every delivered value as text.
"""

import pyarrow as pa

from pipeline_platform.lake.tables import LakeTable, Layer

PIPELINE = "advisory_performance"

MONEY = pa.decimal128(20, 4)
RETURN = pa.decimal128(18, 12)
RATE = pa.decimal128(18, 8)
WEIGHT = pa.decimal128(9, 8)
BASIS_POINTS = pa.decimal128(18, 6)
INSTANT = pa.timestamp("us", tz="UTC")

PERIODS = (
    "daily",
    "mtd",
    "qtd",
    "ytd",
    "since_inception",
    "one_year",
    "three_years",
    "five_years",
)
BASES = ("net", "gross")

DELIVERED_FIELDS = (
    "account_id",
    "as_of_date",
    "market_value",
    "external_flow",
    "flow_timing",
    "flow_weight",
    "flow_id",
    "flow_settlement_date",
    "valuation_before_flow",
    "fees",
    "reported_return",
    "reported_period",
    "reported_basis",
    "currency",
    "fx_rate",
    "account_class",
)
"""What a vendor can deliver, by the names that mappings use; bronze holds them as text."""

RETURN_PERIODS = (*PERIODS[:5], "since_inception_annualised", *PERIODS[5:])
RETURN_COLUMNS = tuple(f"{basis}_return_{period}" for basis in BASES for period in RETURN_PERIODS)


def _table(
    layer: Layer, name: str, fields: list[pa.Field], description: str, *, is_sorted: bool = True
) -> LakeTable:
    return LakeTable(
        pipeline=PIPELINE,
        layer=layer,
        name=name,
        schema=pa.schema(fields),
        description=description,
        partition_by="as_of_month",
        sort_by=("account_id", "as_of_date") if is_sorted else (),
    )


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


_VERSION = [
    _required("known_from", INSTANT),
    pa.field("known_to", INSTANT),
    _required("is_current", pa.bool_()),
]
_ACCOUNT_DAY = [
    _required("account_id", pa.string()),
    _required("as_of_date", pa.date32()),
    _required("as_of_month", pa.date32()),
    _required("vendor", pa.string()),
]
_DELIVERED_BY = [
    _required("file_sha256", pa.string()),
    _required("line_number", pa.int64()),
    *_VERSION,
]

VENDOR_ROWS = _table(
    "bronze",
    "vendor_rows",  # unsorted: rows stream to their file, however large the delivery is
    [
        *(pa.field(name, pa.string()) for name in DELIVERED_FIELDS),
        _required("record_type", pa.string()),
        pa.field("extra", pa.string()),
        _required("vendor", pa.string()),
        _required("file_name", pa.string()),
        _required("file_sha256", pa.string()),
        _required("line_number", pa.int64()),
        _required("received_at", INSTANT),
        _required("as_of_month", pa.date32()),
    ],
    "Every row that a vendor delivered, as text, with its file, line, hash and arrival.",
    is_sorted=False,
)

VALUATIONS = _table(
    "silver",
    "valuations",
    [
        *_ACCOUNT_DAY,
        _required("market_value", MONEY),
        _required("currency", pa.string()),
        pa.field("fx_rate", RATE),
        pa.field("fees", MONEY),
        _required("account_class", pa.string()),
        *_DELIVERED_BY,
    ],
    "End-of-day market value per account and day, with every version that was ever known.",
)

EXTERNAL_FLOWS = _table(
    "silver",
    "external_flows",
    [
        *_ACCOUNT_DAY,
        _required("flow_sequence", pa.int32()),
        pa.field("flow_id", pa.string()),
        _required("amount", MONEY),
        _required("timing", pa.string()),
        pa.field("weight", WEIGHT),
        pa.field("valuation_before_flow", MONEY),
        pa.field("settlement_date", pa.date32()),
        _required("currency", pa.string()),
        *_DELIVERED_BY,
    ],
    "Money that entered (+) or left (-) an account, with its timing within the day.",
)

REPORTED_RETURNS = _table(
    "silver",
    "reported_returns",
    [
        *_ACCOUNT_DAY,
        _required("period", pa.string()),
        _required("basis", pa.string()),
        _required("reported_return", RETURN),
        _required("decimals", pa.int16()),
        *_DELIVERED_BY,
    ],
    "The return that the vendor reported for an account, day, period and basis.",
)

TIME_WEIGHTED_RETURNS = _table(
    "gold",
    "time_weighted_returns",
    [
        *_ACCOUNT_DAY,
        _required("currency", pa.string()),
        _required("account_class", pa.string()),
        pa.field("opening_value", MONEY),
        _required("market_value", MONEY),
        _required("net_external_flow", MONEY),
        pa.field("fees", MONEY),
        *(pa.field(name, RETURN) for name in RETURN_COLUMNS),
        pa.field("net_growth_index", pa.float64()),
        pa.field("gross_growth_index", pa.float64()),
        _required("record_start_date", pa.date32()),
        _required("is_estimated", pa.bool_()),
        _required("return_status", pa.string()),
        _required("input_fingerprint", pa.string()),
        *_VERSION,
    ],
    "Time-weighted return per account and day, linked daily, for every period, net and gross.",
)

COMPUTED_RETURNS = pa.schema(
    [
        column
        for column in TIME_WEIGHTED_RETURNS.schema
        if column.name not in {"input_fingerprint", *(field.name for field in _VERSION)}
    ]
)
"""TIME_WEIGHTED_RETURNS before its rows get their fingerprints and versions."""

ACCOUNT_STATES = _table(
    "gold",
    "account_states",
    [
        *_ACCOUNT_DAY,
        _required("currency", pa.string()),
        _required("account_class", pa.string()),
        _required("market_value", MONEY),
        _required("record_start_date", pa.date32()),
        _required("is_record_open", pa.bool_()),
        _required("net_growth_index", pa.float64()),
        _required("gross_growth_index", pa.float64()),
        _required("net_growth_month_start", pa.float64()),
        _required("net_growth_quarter_start", pa.float64()),
        _required("net_growth_year_start", pa.float64()),
        _required("gross_growth_month_start", pa.float64()),
        _required("gross_growth_quarter_start", pa.float64()),
        _required("gross_growth_year_start", pa.float64()),
        pa.field("measured_fingerprint", pa.int64()),
    ],
    "Where each account's record stood at the end of a month; the next month links from it.",
)

COMPUTED_STATES = pa.schema(
    [column for column in ACCOUNT_STATES.schema if column.name != "measured_fingerprint"]
)
"""ACCOUNT_STATES before its rows get the fingerprint of what they were measured from."""

RECONCILIATION = _table(
    "gold",
    "reconciliation",
    [
        *_ACCOUNT_DAY,
        _required("account_class", pa.string()),
        _required("period", pa.string()),
        _required("basis", pa.string()),
        pa.field("our_return", RETURN),
        pa.field("vendor_return", RETURN),
        pa.field("difference_bps", BASIS_POINTS),
        _required("tolerance_bps", BASIS_POINTS),
        _required("reconciliation_status", pa.string()),
        pa.field("probable_cause", pa.string()),
        pa.field("cause_detail", pa.string()),
        pa.field("cause_residual_bps", BASIS_POINTS),
        pa.field("vendor_file_sha256", pa.string()),
        pa.field("vendor_line_number", pa.int64()),
    ],
    "Our return beside the vendor's, the difference, the ruling and the probable cause of a break.",
)

RESTATEMENTS = _table(
    "gold",
    "restatements",
    [
        *_ACCOUNT_DAY,
        _required("measure", pa.string()),
        _required("previous_value", pa.decimal128(38, 12)),
        _required("restated_value", pa.decimal128(38, 12)),
        pa.field("difference_bps", BASIS_POINTS),
        _required("is_material", pa.bool_()),
        _required("materiality_rule", pa.string()),
        _required("previously_known_from", INSTANT),
        _required("restated_at", INSTANT),
        pa.field("file_sha256", pa.string()),
    ],
    "Values and returns that a later delivery changed, judged by the error-correction policy.",
)


def _mart(name: str, fields: list[pa.Field], description: str) -> LakeTable:
    return LakeTable(
        pipeline=PIPELINE,
        layer="gold",
        name=name,
        schema=pa.schema([pa.field("as_of_month", pa.date32(), nullable=False), *fields]),
        description=description,
        partition_by="as_of_month",
    )


COUNT = pa.int64()
PERCENT = pa.decimal128(9, 4)

ACCOUNT_PERFORMANCE = _mart(
    "account_performance",
    [
        pa.field("account_id", pa.string()),
        pa.field("vendor", pa.string()),
        pa.field("currency", pa.string()),
        pa.field("account_class", pa.string()),
        pa.field("as_of_date", pa.date32()),
        pa.field("closing_value", MONEY),
        pa.field("net_external_flow", MONEY),
        pa.field("fees", MONEY),
        *(pa.field(name, RETURN) for name in RETURN_COLUMNS if not name.endswith("_daily")),
        pa.field("record_start_date", pa.date32()),
        pa.field("day_count", COUNT),
        pa.field("estimated_day_count", COUNT),
        pa.field("breach_count", COUNT),
        pa.field("is_reconciled", pa.bool_()),
    ],
    "One row per account and month: closing value, flows and every return at the month's last day.",
)

VENDOR_RECONCILIATION_DAILY = _mart(
    "vendor_reconciliation_daily",
    [
        pa.field("vendor", pa.string()),
        pa.field("as_of_date", pa.date32()),
        pa.field("figure_count", COUNT),
        pa.field("completed_count", COUNT),
        pa.field("breach_count", COUNT),
        pa.field("missing_vendor_count", COUNT),
        pa.field("missing_ours_count", COUNT),
        pa.field("pending_count", COUNT),
        pa.field("pass_rate_pct", PERCENT),
        pa.field("violation_rate_pct", PERCENT),
        pa.field("mean_absolute_difference_bps", BASIS_POINTS),
        pa.field("largest_absolute_difference_bps", BASIS_POINTS),
        pa.field("most_frequent_cause", pa.string()),
    ],
    "Reconciliation of each vendor by day: counts by status, rates, differences, the main cause.",
)

QUALITY_SUMMARY = _mart(
    "quality_summary",
    [
        pa.field("vendor", pa.string()),
        pa.field("account_count", COUNT),
        pa.field("account_day_count", COUNT),
        pa.field("expected_account_day_count", COUNT),
        pa.field("completeness_pct", PERCENT),
        pa.field("corrected_account_day_count", COUNT),
        pa.field("correction_rate_pct", PERCENT),
        pa.field("estimated_account_day_count", COUNT),
        pa.field("estimation_rate_pct", PERCENT),
        pa.field("unmeasurable_account_day_count", COUNT),
        pa.field("material_restatement_count", COUNT),
    ],
    "What was delivered against what was expected, per vendor and month, and how often it changed.",
)

COMPOSITE_RETURNS = _mart(
    "composite_returns",
    [
        pa.field("composite", pa.string()),
        pa.field("account_class", pa.string()),
        pa.field("currency", pa.string()),
        pa.field("account_count", COUNT),
        pa.field("beginning_assets", pa.decimal128(28, 4)),
        pa.field("ending_assets", pa.decimal128(28, 4)),
        pa.field("net_return", RETURN),
        pa.field("gross_return", RETURN),
        pa.field("internal_dispersion", RETURN),
    ],
    "Asset-weighted monthly return of each composite (account class and currency), after GIPS.",
)

TABLES = (
    VENDOR_ROWS,
    VALUATIONS,
    EXTERNAL_FLOWS,
    REPORTED_RETURNS,
    TIME_WEIGHTED_RETURNS,
    ACCOUNT_STATES,
    RECONCILIATION,
    RESTATEMENTS,
    ACCOUNT_PERFORMANCE,
    VENDOR_RECONCILIATION_DAILY,
    QUALITY_SUMMARY,
    COMPOSITE_RETURNS,
)
