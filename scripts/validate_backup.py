"""Validate a backup: counts, checksums, columns, contracts (SP-55).

    python scripts/validate_backup.py ./backup-test/ [--json]

The same as `pipeline-platform backup verify FOLDER --contents`, under the name of the runbook.
The folder is one of backups, of which the newest is read, or the copy of one table.
"""

from typing import Annotated

import typer

from pipeline_platform.commands.backups import verify


def validate_backup(
    folder: Annotated[str, typer.Argument(help="A folder or s3:// address.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read a backup where it lies; exit code 1 if something in it is not what it should be."""
    verify(folder, contents=True, as_json=as_json)


if __name__ == "__main__":
    typer.run(validate_backup)
