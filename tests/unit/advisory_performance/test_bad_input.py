"""Every bad file ends in a rule and a clear sentence, never in a crash."""

import gzip
import multiprocessing
import resource
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given

from pipeline_platform.advisory_performance.deliveries import open_delivery
from pipeline_platform.ingestion.delivery_errors import DeliveryError, LineTooLongError
from tests.examples import examples
from tests.unit.advisory_performance.written_deliveries import (
    MAPPINGS,
    RECEIVED_AT,
    SHA256,
    STANDARD_HEADER,
    TODAY,
    deliver,
    fixed_width_bytes,
    flow,
    standard_file,
    standard_line,
    valuation,
)

MEGABYTE = 1024 * 1024
POSITION = b'{"kind":"position","account":{"id":"1"},"date":"2026-10-01","nav":"1"}\n'
NORTHGATE = (
    "Kontonummer;Bewertungstag;Währung;Marktwert;Mittelfluss;Rendite in %;Zeitraum\n"
    "NG-1;01.10.2026;EUR;1,00;;0,1;T\n"
)


def _meridian(**options: str) -> bytes:
    return fixed_width_bytes(MAPPINGS["meridian"], [valuation(), flow()], **options)


def _fault(folder: Path, content: bytes, vendor: str = "standard") -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        list(deliver(folder, content, vendor))
    return caught.value


FILE_FAULTS = {
    "empty": ("standard", b"", "empty_file"),
    "blank lines only": ("standard", b"\n\r\n  \n", "empty_file"),
    "empty gzip": ("harbor", gzip.compress(b""), "empty_file"),
    "blank gzip": ("harbor", gzip.compress(b"\n\n"), "empty_file"),
    "header only": ("standard", standard_file(), "header_only"),
    "header only, no line end": ("standard", STANDARD_HEADER.encode(), "header_only"),
    "header and trailer only": (
        "meridian",
        fixed_width_bytes(MAPPINGS["meridian"], []),
        "header_only",
    ),
    "utf-16": (
        "standard",
        standard_file(standard_line()).decode().encode("utf-16"),
        "wrong_encoding",
    ),
    "utf-16 without mark": (
        "standard",
        standard_file(standard_line()).decode().encode("utf-16-le"),
        "wrong_encoding",
    ),
    "utf-32": ("standard", standard_file().decode().encode("utf-32"), "wrong_encoding"),
    "utf-16 lines": ("harbor", gzip.compress(POSITION.decode().encode("utf-16")), "wrong_encoding"),
    "mark of utf-8 in a latin-1 file": (
        "northgate",
        NORTHGATE.encode("utf-8-sig"),
        "wrong_encoding",
    ),
    "undecodable header": ("standard", b"account_id,\xe9\n" + b"x,y\n", "wrong_encoding"),
    "no record decodable": (
        "standard",
        standard_file() + b"A,2026-10-01,1,,,,,\xe9\n",
        "wrong_encoding",
    ),
    "utf-8 header read as latin-1": ("northgate", NORTHGATE.encode(), "missing_column"),
    "duplicate header": (
        "standard",
        standard_file("x", header=STANDARD_HEADER + ",currency"),
        "duplicate_header",
    ),
    "missing column": (
        "standard",
        standard_file("x", header=STANDARD_HEADER.replace("market_value,", "")),
        "missing_column",
    ),
    "unknown column": (
        "standard",
        standard_file("x", header=STANDARD_HEADER + ",advisor"),
        "unknown_column",
    ),
    "no header": ("standard", standard_file(header=standard_line()), "missing_column"),
    "other delimiter": (
        "standard",
        standard_file().replace(b",", b";"),
        "missing_column",
    ),
    "broken header quotes": ("standard", b'"account_id,as_of_date\n', "unreadable_header"),
    "row count differs": ("meridian", _meridian(row_count="3"), "trailer_mismatch"),
    "row count is no number": ("meridian", _meridian(row_count="two"), "trailer_mismatch"),
    "total differs": ("meridian", _meridian(total="125.01"), "trailer_mismatch"),
    "total is no number": ("meridian", _meridian(total="n/a"), "trailer_mismatch"),
    "no trailer": ("meridian", b"\n".join(_meridian().splitlines()[:-1]), "missing_trailer"),
    "no header record": ("meridian", b"\n".join(_meridian().splitlines()[1:]), "missing_header"),
    "two files joined": ("meridian", _meridian() + _meridian(), "data_after_trailer"),
    "truncated gzip": ("harbor", gzip.compress(POSITION * 5000)[:-20], "truncated_gzip"),
    "gzip of two bytes": ("harbor", b"\x1f\x8b", "truncated_gzip"),
    "damaged gzip": (
        "harbor",
        gzip.compress(POSITION)[:-8] + b"\x00" * 8,
        "corrupt_gzip",
    ),
    "garbage after gzip": ("harbor", gzip.compress(POSITION) + b"garbage", "corrupt_gzip"),
    "not gzip": ("harbor", POSITION, "not_gzip"),
    "gzip instead of text": (
        "standard",
        gzip.compress(standard_file(standard_line())),
        "unexpected_compression",
    ),
    "line too long": ("standard", standard_file("x" * (MEGABYTE + 1)), "line_too_long"),
    "last line too long": ("standard", b"x" * (MEGABYTE + 1), "line_too_long"),
}


@pytest.mark.parametrize(("vendor", "content", "rule"), FILE_FAULTS.values(), ids=FILE_FAULTS)
def test_a_bad_file_is_refused_by_rule(tmp_path, vendor, content, rule):
    assert _fault(tmp_path, content, vendor).rule == rule


@pytest.mark.parametrize(("vendor", "content", "rule"), FILE_FAULTS.values(), ids=FILE_FAULTS)
def test_the_refusal_is_one_sentence_that_names_the_file(tmp_path, vendor, content, rule):
    sentence = str(_fault(tmp_path, content, vendor))

    assert (
        sentence.startswith(MAPPINGS[vendor].file_name.example),
        sentence.endswith((".", ")")),
        "\n" in sentence,
    ) == (True, True, False)


def test_a_missing_column_is_named_with_what_stands_there_instead(tmp_path):
    content = standard_file("x", header=STANDARD_HEADER.replace("market_value", "nav"))

    assert "lacks 'market_value' and holds 'nav' instead" in str(_fault(tmp_path, content))


def test_a_file_without_any_known_column_is_told_to_lack_its_header(tmp_path):
    content = standard_file(header=standard_line())

    assert "has no header with the mapping's columns" in str(_fault(tmp_path, content))


def test_a_trailer_mismatch_names_both_counts(tmp_path):
    sentence = str(_fault(tmp_path, _meridian(row_count="3"), "meridian"))

    assert "states '3' records, the file holds 2" in sentence


def test_rows_before_a_truncated_end_are_handed_out_before_the_refusal(tmp_path):
    mapping = MAPPINGS["harbor"]
    batches = iter(deliver(tmp_path, gzip.compress(POSITION * 200_000)[:-20], mapping.vendor))

    assert next(batches).num_rows > 0


def test_a_limit_below_the_default_holds_for_every_line(tmp_path):
    content = standard_file(standard_line(), standard_line("x" * 200), standard_line())
    delivery = deliver(tmp_path, content, max_line_bytes=100)

    with pytest.raises(DeliveryError, match="longer than 100 bytes"):
        list(delivery)


def _peak_memory_growth(path: Path, queue: "multiprocessing.Queue[int]") -> None:
    mapping = MAPPINGS["standard"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    delivery = open_delivery(
        path, path.name, mapping, today=TODAY, received_at=RECEIVED_AT, file_sha256=SHA256
    )
    with pytest.raises(LineTooLongError):
        list(delivery)
    queue.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)


def test_a_line_of_100_mb_never_sits_in_memory(tmp_path):
    path = tmp_path / "standard_sparse.csv"
    with path.open("wb") as sparse:
        sparse.write(standard_file(standard_line()) + b"x")
        sparse.truncate(100 * MEGABYTE)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_peak_memory_growth, args=(path, queue))
    process.start()

    growth_megabytes = queue.get(timeout=60)
    process.join()

    assert growth_megabytes < 30


VALID_FILES = {
    "standard": standard_file(standard_line("A"), standard_line('"B ""x"""'), standard_line("C")),
    "northgate": NORTHGATE.encode("latin-1"),
    "meridian": _meridian(),
    "harbor": gzip.compress(POSITION * 3),
}


@examples(150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    vendor=st.sampled_from(sorted(VALID_FILES)),
    place=st.integers(0, 300),
    removed=st.integers(0, 40),
    inserted=st.one_of(
        st.binary(max_size=40), st.sampled_from([b'"', b"\n", b"\r", b"\x00", b",", b";", b"{"])
    ),
    is_inside_gzip=st.booleans(),
)
def test_damage_anywhere_ends_in_a_refusal_or_in_rows_and_rejects_that_add_up(
    tmp_path, vendor, place, removed, inserted, is_inside_gzip
):
    content = VALID_FILES[vendor]
    is_inside_gzip = is_inside_gzip and vendor == "harbor"
    content = gzip.decompress(content) if is_inside_gzip else content
    content = content[:place] + inserted + content[place + removed :]
    content = gzip.compress(content) if is_inside_gzip else content

    delivery = deliver(tmp_path, content, vendor)
    rows, is_refused = 0, False
    try:
        rows = sum(batch.num_rows for batch in delivery)
    except DeliveryError:
        is_refused = True

    assert is_refused or delivery.arrived == rows + len(delivery.rejected) > 0
