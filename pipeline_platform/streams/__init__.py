"""Streams of records read in micro-batches whose positions commit together with the rows.

`reading` is what any source of records looks like; `kinesis` is one. `consumption` takes batches
to a table of the lake exactly once; `reads` remembers how reading went.
"""
