"""Delivered files to bronze, for every pipeline: claim, read, stage, publish, record, file away.

Start at `files.py`; `intake.py` says what a pipeline must bring. `trial.py`, `replay.py` and
`withdrawal.py` read files again: without storing anything, after a mend, or to take them back.
"""
