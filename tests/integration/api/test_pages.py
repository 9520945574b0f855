"""Pages over real HTTP, as a browser and as a script open them."""

from datetime import UTC, datetime

import httpx
import pytest

from pipeline_platform.operations.reports.pages import Page, Section
from pipeline_platform.warehouse.report_pages import keep_page
from tests.integration.api.conftest import SECRETS, Service

PIPELINE = "advisory_performance"
ADDRESS = f"/reports/{PIPELINE}/morning_check"


@pytest.fixture(scope="module")
def kept(service: Service) -> None:
    """Pages of two mornings."""
    for day, what in ((28, "the older one"), (29, "the newer one")):
        made_at = datetime(2026, 11, day, 9, 10, tzinfo=UTC)
        failed = Section("What failed", [{"what": what}], "1 to mend.", kind="failed")
        made = Page(PIPELINE, "morning_check", "Morning check", made_at, [failed])
        with service.services.database.transaction() as connection:
            keep_page(connection, made.day, made.to_json(), made_at=made_at, run_id=None)


def test_a_page_is_html_by_its_day(service: Service, kept: None) -> None:
    answer = service.get(f"{ADDRESS}/2026-11-28")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "the older one" in answer.text


def test_the_latest_page_is_found_without_its_day(service: Service, kept: None) -> None:
    assert "the newer one" in service.get(f"{ADDRESS}/latest").text


@pytest.mark.parametrize(
    ("shape", "kind"), [("markdown", "text/markdown; charset=utf-8"), ("json", "application/json")]
)
def test_a_script_chooses_another_form(service: Service, kept: None, shape: str, kind: str) -> None:
    answer = service.get(f"{ADDRESS}/latest?format={shape}")
    assert (answer.headers["content-type"], "the newer one" in answer.text) == (kind, True)


def test_a_page_may_load_and_run_nothing(service: Service, kept: None) -> None:
    policy = service.get(f"{ADDRESS}/latest").headers["content-security-policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_pages_are_listed_newest_first(service: Service, kept: None) -> None:
    found = service.get(f"/reports?pipeline={PIPELINE}").json()
    assert [one["report_date"] for one in found][:2] == ["2026-11-29", "2026-11-28"]


def test_a_page_that_is_not_kept_is_not_found(service: Service) -> None:
    answer = service.get(f"{ADDRESS}/2020-01-01")
    assert (answer.status_code, "makes one" in answer.json()["detail"]) == (404, True)


def test_a_browser_is_asked_for_a_password(service: Service) -> None:
    answer = service.get(f"{ADDRESS}/latest", role=None)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (
        401,
        'Basic realm="pages", Bearer',
    )


def test_the_password_of_a_browser_is_the_token(service: Service, kept: None) -> None:
    answer = httpx.get(f"{service.address}{ADDRESS}/latest", auth=("anybody", SECRETS["read"]))
    assert answer.status_code == 200


def test_a_password_changes_nothing(service: Service) -> None:
    """A browser sends passwords on its own, also where another site made it ask."""
    answer = httpx.post(f"{service.address}/admin/stop-all", auth=("x", SECRETS["admin"]))
    assert answer.status_code == 401
