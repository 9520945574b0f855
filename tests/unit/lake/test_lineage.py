"""What a publication says that it was made from, in each way that it is written."""

import pytest

from pipeline_platform.lake.lineage import Inputs, inputs_of

SHA = "ab" * 32


@pytest.mark.parametrize(
    ("text", "inputs"),
    [
        (SHA, Inputs(files=(SHA,))),
        (f"{SHA},{SHA[::-1]}", Inputs(files=(SHA, SHA[::-1]))),
        ("vendor_rows@17", Inputs(snapshots={"vendor_rows": 17})),
        ("valuations@1,flows@2", Inputs(snapshots={"valuations": 1, "flows": 2})),
        ("vendor_rows@None", Inputs()),
        ('{"web_events_silver.web_events": 5}', Inputs(snapshots={"web_events": 5})),
        ('{"web_events_silver.web_events": null}', Inputs()),
        ("", Inputs()),
    ],
)
def test_inputs_are_files_or_snapshots(text: str, inputs: Inputs) -> None:
    assert inputs_of({"inputs": text}) == inputs
