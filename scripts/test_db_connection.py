"""Test the connection to the serving database (SA-22): name, TCP, TLS, login, read, write, latency.

    python scripts/test_db_connection.py [--json]

Takes the database from the settings, as the platform does. Exit code 0 if every layer works;
otherwise 1, with one sentence on standard error that names the first layer that fails.
"""

import argparse
import json
import sys
from dataclasses import asdict

from pipeline_platform.failures import PlatformError
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse.database import database_url
from pipeline_platform.warehouse.diagnosis import diagnose


def main() -> int:
    """Print one line for each layer; return the exit code."""
    parser = argparse.ArgumentParser(description="Test the connection to the serving database.")
    parser.add_argument("--json", action="store_true", help="print the layers as one JSON array")
    as_json = parser.parse_args().json
    try:
        layers = list(diagnose(database_url(Settings.from_env())))
    except PlatformError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if as_json:
        sys.stdout.write(json.dumps([asdict(layer) for layer in layers], indent=2) + "\n")
    else:
        for layer in layers:
            mark = "ok  " if layer.is_ok else "FAIL"
            line = f"{mark} {layer.name:<8}{layer.milliseconds:>9.1f} ms  {layer.detail}"
            sys.stdout.write(line + "\n")
    if not layers[-1].is_ok:
        sys.stderr.write(f"{layers[-1].detail}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
