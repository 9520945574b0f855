"""What any pipeline may state thresholds on, by the threshold's name, without code of its own.

A pipeline's own `measures.py` adds to these what only it can measure.
"""

from collections.abc import Mapping
from typing import Any

from pipeline_platform.operations import database_measures, service_levels
from pipeline_platform.quality import machine, measures
from pipeline_platform.quality.measures import Measure
from pipeline_platform.quality.monitoring_gap import monitoring_gap
from pipeline_platform.recovery import proof

MEASURES: Mapping[str, Measure[Any]] = {
    "refused_files": measures.refused_files,
    "processing_latency": measures.processing_latency,
    "processing_time_per_file": measures.processing_time,
    "oldest_file_in_processing": measures.oldest_in_processing,
    "pipeline_success_rate": measures.success_rate,
    "failed_runs": measures.failed_runs,
    "task_latency": measures.task_latency,
    "monitoring_gap": monitoring_gap,
    **service_levels.MEASURES,
    "database_connections": database_measures.connections,
    "database_connection_share": database_measures.connection_share,
    "unused_indexes": database_measures.unused_indexes,
    "longest_query": machine.longest_query,
    "clock_skew": machine.clock_skew,
    "disk_used": machine.disk_used,
    "damaged_files": proof.damaged_files,
    "foreign_commits": proof.foreign_commits,
    "backup_age": proof.backup_age,
    "second_copy_age": proof.second_copy_age,
    "recoverable_point": proof.recoverable_point,
    "backup_faults": proof.backup_faults,
    "recovery_time": proof.recovery_time,
    "unsaved_tables": proof.unsaved_tables,
}
