"""Several records about one account and day: whose they are, conflicts, repetitions, versions.

What is ordered here, and by what:

- A record's `arrival` orders all records: by its file's (received_at, file_sha256), then by line.
  So the result depends neither on the order of bronze rows nor on how files were batched.
- A valuation has one version per distinct content of an account-day, a reported return per
  account-day, period and basis. Flows of an account-day are one set per file and versioned as a
  set; a combined record with a market value but without a flow says "no flow", which empties an
  earlier set (SA-20, B-4: bitemporal).
- A version is known from its file's received_at to that of the next version. A content equal to
  the version before it is a repetition; A, B, A are three versions.

All functions work on the temporary tables of one `normalise` call, whose names begin with
`prefix`: `_files`, `_records`, `_rejections` (arrival, rule, column_name, reason) and the view
`_good` (records without a rejection).
"""

from dataclasses import dataclass

import duckdb

from pipeline_platform.advisory_performance.flow_corrections import FLOW_CONTENT


@dataclass(frozen=True)
class Part:
    """A part of a record that has one content per key: a valuation or a reported return.

    `key` identifies it within an account-day, `content` is what versions differ in,
    `is_present` the condition that a record carries it.
    """

    name: str
    is_present: str
    key: tuple[str, ...]
    content: tuple[str, ...]
    column: str

    @property
    def keys(self) -> str:
        """The whole key as column list."""
        return ", ".join(("account_id", "as_of_date", *self.key))


VALUATION = Part(
    "valuation",
    "has_valuation",
    (),
    ("market_value", "currency", "fx_rate", "fees", "account_class"),
    "market_value",
)
REPORTED_RETURN = Part(
    "return", "has_return", ("period", "basis"), ("reported_return", "decimals"), "reported_return"
)
IDENTIFIED_FLOW = Part(
    "flow", "has_flow AND flow_id IS NOT NULL", ("flow_id",), FLOW_CONTENT, "external_flow"
)
VERSIONED_PARTS = (VALUATION, REPORTED_RETURN)


def reject_other_vendors(con: duckdb.DuckDBPyConnection, prefix: str, *, has_owners: bool) -> None:
    """Reject records of accounts that another vendor delivered first.

    The owner of an account is the one in `<prefix>_owners` (account_id, vendor; only read when
    `has_owners`), otherwise the vendor of the account's first good record.
    """
    vendors = con.execute(f"SELECT count(DISTINCT vendor) FROM {prefix}_files").fetchone()
    if not has_owners and vendors is not None and vendors[0] < 2:
        return
    known = "SELECT NULL::VARCHAR AS account_id, NULL::VARCHAR AS vendor WHERE false"
    if has_owners:
        known = f"SELECT account_id, min(vendor) AS vendor FROM {prefix}_owners GROUP BY account_id"
    con.execute(f"""
        INSERT INTO {prefix}_rejections
        WITH known AS ({known}),
        delivered AS (
            SELECT
                account_id, min(file_rank) AS file_rank,
                min(vendor_rank) <> max(vendor_rank) AS is_shared
            FROM {prefix}_good JOIN {prefix}_files USING (file_rank)
            GROUP BY account_id
        ),
        owners AS (
            SELECT account_id, coalesce(known.vendor, first_file.vendor) AS owner
            FROM delivered
            JOIN {prefix}_files AS first_file USING (file_rank)
            LEFT JOIN known USING (account_id)
            WHERE is_shared OR known.vendor <> first_file.vendor
        )
        SELECT
            arrival, 'account_of_other_vendor', 'account_id',
            concat('account_id: account ', {_shown_account("account_id")},
                ' was first delivered by ', owner, ', not by ', vendor, '.')
        FROM {prefix}_good
        JOIN {prefix}_files USING (file_rank)
        JOIN owners USING (account_id)
        WHERE vendor <> owner
    """)


def reject_conflicts(con: duckdb.DuckDBPyConnection, prefix: str) -> None:
    """Reject records of one file that state different things about the same thing.

    All records of the file about it are rejected, whole, for nobody can tell which one holds.
    Several flows of a day are no conflict unless they have the same flow_id. Leaves the keys that
    came more than once in `<prefix>_repeated_<part>` for `version_parts`.
    """
    parts = (VALUATION, REPORTED_RETURN, IDENTIFIED_FLOW)
    conflicts = []
    for priority, part in enumerate(parts):
        con.execute(f"""
            CREATE TEMP TABLE {prefix}_repeated_{part.name} AS
            SELECT {part.keys} FROM {prefix}_good WHERE {part.is_present}
            GROUP BY ALL HAVING count(*) > 1
        """)
        con.execute(f"""
            CREATE TEMP TABLE {prefix}_doubled_{part.name} AS
            SELECT {part.keys}, file_rank FROM {prefix}_good
            SEMI JOIN {prefix}_repeated_{part.name} USING ({part.keys})
            WHERE {part.is_present}
            GROUP BY ALL HAVING count(*) > 1
        """)
        if con.execute(f"SELECT 1 FROM {prefix}_doubled_{part.name} LIMIT 1").fetchone():
            conflicts.append(_conflicts_of(prefix, part, priority))
    if conflicts:
        con.execute(f"""
            INSERT INTO {prefix}_rejections
            SELECT DISTINCT ON (arrival) arrival, 'conflicting_duplicate', column_name, reason
            FROM ({" UNION ALL ".join(conflicts)})
            ORDER BY arrival, priority
        """)


def _conflicts_of(prefix: str, part: Part, priority: int) -> str:
    differs = " OR ".join(
        f"min({column}) <> max({column}) OR count({column}) BETWEEN 1 AND count(*) - 1"
        for column in part.content
    )
    return f"""
        SELECT
            arrival, {priority} AS priority, '{part.column}' AS column_name,
            concat('{part.column}: ', conflict.record_count, ' records of this file (lines ',
                conflict.first_line, ' to ', conflict.last_line,
                ') state different values for account ', {_shown_account("account_id")},
                ' on ', as_of_date, '.') AS reason
        FROM {prefix}_good
        JOIN (
            SELECT
                {part.keys}, file_rank, count(*) AS record_count,
                min(line_number) AS first_line, max(line_number) AS last_line
            FROM {prefix}_good
            SEMI JOIN {prefix}_doubled_{part.name} USING ({part.keys}, file_rank)
            WHERE {part.is_present}
            GROUP BY {part.keys}, file_rank
            HAVING {differs}
        ) AS conflict USING ({part.keys}, file_rank)
        WHERE {part.is_present}
    """


def version_parts(con: duckdb.DuckDBPyConnection, prefix: str) -> None:
    """Order the contents of every key that came more than once into versions.

    Makes `<prefix>_versions_<part>` (arrival, is_new, known_to): `is_new` is false for a
    repetition; a record that is not in it is the only one of its key.
    """
    for part in VERSIONED_PARTS:
        differs = " OR ".join(
            f"{column} IS DISTINCT FROM lag({column}) OVER by_arrival" for column in part.content
        )
        con.execute(f"""
            CREATE TEMP TABLE {prefix}_versions_{part.name} AS
            WITH marked AS (
                SELECT
                    arrival, received_at, {part.keys},
                    lag(arrival) OVER by_arrival IS NULL OR {differs} AS is_new
                FROM {prefix}_good
                SEMI JOIN {prefix}_repeated_{part.name} USING ({part.keys})
                JOIN {prefix}_files USING (file_rank)
                WHERE {part.is_present}
                WINDOW by_arrival AS (PARTITION BY {part.keys} ORDER BY arrival)
            )
            SELECT
                arrival, true AS is_new,
                lead(received_at) OVER (PARTITION BY {part.keys} ORDER BY arrival) AS known_to
            FROM marked WHERE is_new
            UNION ALL
            SELECT arrival, false, NULL FROM marked WHERE NOT is_new
        """)


def find_repetitions(con: duckdb.DuckDBPyConnection, prefix: str) -> None:
    """Make `<prefix>_deduplicated` (arrival): good records all of whose parts were known before."""
    repeated_parts = " UNION ALL ".join(
        f"SELECT arrival FROM {prefix}_versions_{part.name} WHERE NOT is_new"
        for part in VERSIONED_PARTS
    )
    con.execute(f"""
        CREATE TEMP TABLE {prefix}_deduplicated AS
        WITH repetitions AS (
            SELECT arrival, count(*) AS part_count
            FROM (
                {repeated_parts}
                UNION ALL
                SELECT arrival FROM {prefix}_good
                ANTI JOIN {prefix}_published_flows USING (arrival) WHERE has_flow
            )
            GROUP BY arrival
        )
        SELECT arrival
        FROM repetitions
        JOIN {prefix}_records USING (arrival)
        ANTI JOIN {prefix}_emptied_flows USING (arrival)
        WHERE part_count = has_valuation::INTEGER + has_flow::INTEGER + has_return::INTEGER
    """)


def _shown_account(column: str) -> str:
    return f"regexp_replace(left({column}, 80), '[[:cntrl:]]', '?', 'g')"
