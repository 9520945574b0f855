"""What people read after a recovery: the reconciliation, and the page of lessons (SA-71, SA-99)."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_platform.recovery.record import EndedRecovery
from pipeline_platform.runbook_page import markdown_table

Document = Mapping[str, Any]
HOPS = ("hop", "arrived", "published", "quarantined", "deduplicated", "held late", "missing")
QUESTIONS = (
    "What broke, and why was it possible?",
    "Which figures were wrong or late, who used them, and whom do we tell?",
    "What of the recovery took longest? What was missing or not as the page said?",
    "What do we change, who does it, and until when?",
)


def as_markdown(document: Document) -> str:
    """Return the report as a page for people; as JSON it is the document itself."""
    lines = [f"# Reconciliation after a recovery, {document['made_at'][:16]} UTC", ""]
    lines.append(
        _table(
            ("aspect", "looked at", "faults"),
            [
                (one["aspect"], one["looked_at"], "; ".join(one["faults"]) or "none")
                for one in document["validation"]
            ],
        )
    )
    for name, told in document["pipelines"].items():
        counts = ", ".join(f"{count} {status}" for status, count in told["files"].items())
        lines += [
            "",
            f"## {name}",
            "",
            _table(HOPS, [tuple(one.values()) for one in told["hops"]]),
            "",
            f"Files: {counts or 'none'}. Partitions that wait: "
            f"{', '.join(told['waiting']) or 'none'}. Files to read again with `landing reread`: "
            f"{', '.join(one[:12] for one in told['files_without_rows']) or 'none'}.",
        ]
    tables = [tuple(one.values()) for one in document["lake_tables"]]
    lines += ["", "## Lake", "", _table(("table", "rows", "rows in the backup"), tables)]
    return "\n".join(lines) + "\n"


def lessons_page(one: EndedRecovery) -> str:
    """Return a page with what happened, the lessons so far, and questions for the rest."""
    steps = [(str(s["at"])[:19], s["step"], "; ".join(s["said"])) for s in one.steps]
    lessons = [f"- {' '.join(text.split())}" for text in one.lessons] or [
        'Nobody has written any down yet: `pipeline-platform recover --lessons "..."`.'
    ]
    return "\n".join(
        [
            f"# Recovery of {one.began_at:%Y-%m-%d %H:%M} UTC",
            "",
            f"By {one.recovered_by}, because: {one.reason}. It took "
            f"{(one.ended_at - one.began_at).total_seconds() / 60:.0f} minutes.",
            "",
            _table(("when (UTC)", "step", "what was said"), steps),
            "",
            "## What was not as it should be afterwards",
            "",
            *([f"- {fault}" for fault in one.faults] or ["Nothing."]),
            "",
            "## Lessons",
            "",
            *lessons,
            "",
            "## Questions",
            "",
            *(f"- {question}" for question in QUESTIONS),
            "",
        ]
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table whose cells are one line each; what is not known is a dash."""
    return markdown_table(
        head,
        [["-" if cell is None else " ".join(str(cell).split()) for cell in row] for row in rows],
    )
