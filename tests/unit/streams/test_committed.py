"""The property in which a table holds a stream's positions."""

import pytest

from pipeline_platform.failures import PermanentError
from pipeline_platform.streams.committed import Committed


def test_a_stream_never_read_has_no_positions():
    assert Committed.parse(None) == Committed()


def test_what_a_change_writes_is_read_back():
    change = Committed().moved("clicks", {"shard-1": "7"}, ["hash"])
    read = Committed.parse(change.value)
    assert (read.positions, read.last_files, read.fence) == ({"shard-1": "7"}, {"hash"}, 0)


def test_a_change_starts_from_what_was_read():
    first = Committed().moved("clicks", {"shard-1": "7"}, [])
    assert Committed.parse(first.value).moved("clicks", {"shard-1": "9"}, []).expected == (
        first.value
    )


def test_taking_over_keeps_positions_and_files_but_changes_the_property():
    before = Committed.parse(Committed().moved("clicks", {"shard-1": "7"}, ["hash"]).value)
    after = Committed.parse(before.taken_over("clicks").value)
    assert (after.positions, after.last_files) == (before.positions, before.last_files)
    assert after.text != before.text


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"shards": 1, "last_files": []}'])
def test_a_property_that_is_not_ours_is_refused(text):
    with pytest.raises(PermanentError, match="positions can't be read"):
        Committed.parse(text)
