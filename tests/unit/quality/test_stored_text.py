"""Text of any vendor can be stored."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.quality.stored_text import storable


@given(st.text(st.characters()))
def test_stored_text_has_no_nul_and_can_be_encoded(text: str) -> None:
    assert b"\x00" not in (storable(text) or "").encode()


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_plain_text_is_stored_as_it_is(text: str) -> None:
    assert storable(text) == text


def test_no_text_stays_none() -> None:
    assert storable(None) is None
