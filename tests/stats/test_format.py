"""Numbers in print: worked cases, and laws over all of them."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.records import format as form


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (-145.7612, 0.4231, "-145.76 ± 0.42"),
        (2.0, 0.0123, "2.000 ± 0.012"),
        (2.0, 0.0996, "2.00 ± 0.10"),
        (-145.7612, 12.3, "-146 ± 12"),
        (-145.7612, 1234.5, "-100 ± 1,200"),
        (0.001, 0.42, "0.00 ± 0.42"),
        (-0.001, 0.42, "0.00 ± 0.42"),
        (96.6712345, 1e-12, "96.67123 ± 0.00000"),
        (96.6712345, 0.0, "96.67 ± 0"),
        (96.6712345, None, "96.67"),
        (0.01234, None, "0.0123"),
        (0.0, None, "0.00"),
        (-12345.678, None, "-12,345.68"),
        (1.5e12, None, "1.50e12"),
        (float("inf"), None, "inf"),
    ],
)
def test_measured(value: float, error: float | None, shown: str) -> None:
    assert str(form.measured(value, error)) == shown


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (1.73e-4, None, "1.73e-4"),
        (9.996e-5, None, "1.00e-4"),
        (1.73e-4, 1.2e-5, "(1.73±0.12)e-4"),
        (1.73e-4, 1.2e-4, "(1.7±1.2)e-4"),
        (-1e-6, 5.04e-5, "(-0.1±5.0)e-5"),
        (0.42, None, "0.420"),
        (0.42, 0.013, "0.420 ± 0.013"),
        (0.042, None, "4.20e-2"),
        (0.0, None, "0"),
    ],
)
def test_scientific(value: float, error: float | None, shown: str) -> None:
    assert str(form.scientific(value, error)) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (27, "27"),
        (512, "512"),
        (999, "999"),
        (1000, "1K"),
        (7600, "7.6K"),
        (98_623, "98.6K"),
        (396_492, "396K"),
        (999_499, "999K"),
        (999_960, "1M"),
        (6_698_666, "6.7M"),
    ],
)
def test_count(value: float, shown: str) -> None:
    assert str(form.count(value)) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 B"),
        (1000, "1000 B"),
        (1024, "1.00 KiB"),
        (512 * 2**20, "512 MiB"),
        (1.5 * 2**30, "1.50 GiB"),
        (139 * 2**30, "139 GiB"),
        (1023.9 * 2**20, "1.00 GiB"),
    ],
)
def test_memory(value: float, shown: str) -> None:
    assert str(form.memory(value)) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.04231, "0.0423"), (12.34, "12.3"), (99.96, "100"), (1234.5, "1,234"), (0, "0.00")],
)
def test_significant(value: float, shown: str) -> None:
    assert str(form.significant(value)) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0519, "0.0519"), (1.0, "1.00"), (1e-4, "0.000100"), (1.123e-26, "1.12e-26"), (0.0, "0.00")],
)
def test_p_values(value: float, shown: str) -> None:
    assert str(form.probability(value)) == shown


@given(st.floats(-100, 100), st.floats(1e-3, 1e4))
def test_what_is_shown_is_within_the_last_digit_of_the_error(value: float, error: float) -> None:
    number = form.measured(value, error)
    shown, spread = (float(text.replace(",", "")) for text in (number.value, number.error))
    # Two digits of the error: it is off by 5 % at most, and the value by half its last digit.
    assert abs(spread - error) <= 0.0501 * error
    assert abs(shown - value) <= 0.0501 * error + 1e-9


@example(5e-324, None)
@given(st.floats(-1, 1), st.none() | st.floats(1e-12, 1))
def test_scientific_keeps_three_digits_and_fits_its_column(
    value: float, error: float | None
) -> None:
    number = form.scientific(value, error)
    scale = 10.0**number.exponent
    size = max(abs(value), error or 0.0)
    assert abs(float(number.value) * scale - value) <= 0.0502 * size + 1e-300
    assert len(str(number)) <= 16
    assert not re.match(r"-0(\.0*)?$", number.value)
