"""Tokens, roles and rates: pure, without a server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.api.rate_limit import RateLimit
from pipeline_platform.api.sharing import Shared
from pipeline_platform.api.tokens import ROLES, Holder, Tokens, new_token
from pipeline_platform.failures import InvalidSettingError
from pipeline_platform.settings import Settings


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("role", ROLES)
def test_a_new_token_is_known_by_its_entry(role) -> None:
    token, entry = new_token("grafana", role)
    assert Tokens.parse(entry).holder(token) == Holder("grafana", role)


def test_of_several_entries_the_right_one_is_found() -> None:
    made = [new_token(name, "read") for name in ("one", "two", "three")]
    known = Tokens.parse(",".join(entry for _, entry in made))
    assert [known.holder(token).name for token, _ in made] == ["one", "two", "three"]


@given(st.text())
def test_no_other_text_is_a_token(text: str) -> None:
    assert Tokens.parse(new_token("one", "admin")[1]).holder(text) is None


def test_an_entry_does_not_hold_the_token() -> None:
    token, entry = new_token("one", "admin")
    assert token not in entry


@pytest.mark.parametrize(
    ("held", "allowed"),
    [("read", ["read"]), ("operate", ["read", "operate"]), ("admin", list(ROLES))],
)
def test_a_role_includes_the_lesser_ones(held, allowed) -> None:
    assert [role for role in ROLES if Holder("one", held).may(role)] == allowed


@pytest.mark.parametrize(
    "text", ["secret", "one:admin:secret", "one:root:" + 64 * "0", "One:read:" + 64 * "0", ","]
)
def test_settings_refuse_what_is_no_entry_and_do_not_repeat_it(text: str) -> None:
    with pytest.raises(InvalidSettingError) as raised:
        Settings.from_env({"PLATFORM_API_TOKENS": text})
    assert "PLATFORM_API_TOKENS" in str(raised.value)
    assert text == "," or text not in str(raised.value)


def test_settings_do_not_show_hashes() -> None:
    _, entry = new_token("one", "admin")
    assert entry not in repr(Settings.from_env({"PLATFORM_API_TOKENS": entry}))


def test_a_client_may_ask_as_often_as_its_bucket_holds() -> None:
    limit = RateLimit(60, burst=3, clock=Clock())
    assert [limit.seconds_to_wait("one") for _ in range(4)] == [0, 0, 0, 1]


def test_a_bucket_refills_steadily() -> None:
    clock = Clock()
    limit = RateLimit(60, burst=1, clock=clock)
    limit.seconds_to_wait("one")
    clock.now = 0.5
    assert limit.seconds_to_wait("one") == 0.5
    clock.now = 1.0
    assert limit.seconds_to_wait("one") == 0


def test_one_client_does_not_use_up_the_others_bucket() -> None:
    limit = RateLimit(60, burst=1, clock=Clock())
    limit.seconds_to_wait("one")
    assert limit.seconds_to_wait("two") == 0


@given(st.lists(st.floats(min_value=0, max_value=5), max_size=60))
def test_no_pattern_of_asking_exceeds_the_rate(waits: list[float]) -> None:
    clock = Clock()
    limit = RateLimit(60, burst=5, clock=clock)
    allowed = 0
    for wait in waits:
        clock.now += wait
        allowed += limit.seconds_to_wait("one") == 0
    assert allowed <= 5 + clock.now + 1e-6


def test_an_answer_is_shared_until_it_is_too_old() -> None:
    clock, asked = Clock(), []
    shared = Shared(lambda: asked.append(1) or len(asked), 5, clock)
    first = [shared.get(), shared.get()]
    clock.now = 5
    assert (first, shared.get()) == ([1, 1], 2)


def test_an_error_is_not_kept() -> None:
    answers = iter([ZeroDivisionError, 7])

    def read() -> int:
        answer = next(answers)
        if answer is ZeroDivisionError:
            raise answer
        return answer

    shared = Shared(read, 5)
    with pytest.raises(ZeroDivisionError):
        shared.get()
    assert shared.get() == 7
