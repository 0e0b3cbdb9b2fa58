"""Numbers as they are read: digits by the uncertainty, scientific form, counts, bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

#: No more digits than these are shown of a value, however small its error.
_DIGITS = 7


@dataclass(frozen=True)
class Number:
    """A number ready to print: `value` ± `error`, times ten to the `exponent`, and a unit.

    Each output format puts the parts together in its own way; `str` is the plain one.
    """

    value: str
    error: str = ""
    exponent: int = 0
    unit: str = ""

    def __str__(self) -> str:
        if self.exponent and self.error:
            text = f"({self.value}±{self.error})e{self.exponent}"
        elif self.exponent:
            text = f"{self.value}e{self.exponent}"
        elif self.error:
            text = f"{self.value} ± {self.error}"
        else:
            text = self.value
        return f"{text} {self.unit}" if self.unit else text


def measured(value: float, error: float | None = None) -> Number:
    """A value to the digits that its error allows: the error has two significant digits.

    Without an error, or with none to speak of, the value has two decimals, or three significant
    digits where that is more. From a million on the form is scientific.
    """
    if not math.isfinite(value):
        return Number(str(value))
    if abs(value) >= 1e6 or (error is not None and error >= 1e6):
        return scientific(value, error)
    if error is None or not math.isfinite(error):
        return Number(_fixed(value, max(2, 2 - _order(value))))
    if error == 0:
        return Number(_fixed(value, 2), "0")
    decimals = min(1 - _order(error, digits=2), _DIGITS - 1 - max(_order(value), 0))
    return Number(_fixed(value, decimals), _fixed(error, decimals))


def signed(value: float, error: float | None = None) -> Number:
    """A difference as `scientific` has it, with its sign shown where it is above 0."""
    number = scientific(value, error)
    return replace(number, value=f"+{number.value}") if value > 0 else number


def scientific(value: float, error: float | None = None) -> Number:
    """A value as a mantissa and a power of ten, to three digits or fewer where its error is large.

    From 0.1 up to 1000 there is no power of ten, and with an error there are up to four digits.
    """
    if not math.isfinite(value):
        return Number(str(value))
    known = error if error is not None and math.isfinite(error) else 0.0
    size = max(abs(value), known)
    exponent = _order(size, digits=3)
    if size == 0:
        return Number("0")
    if -1 <= exponent <= 2:
        if not known:
            return Number(_fixed(value, 2 - exponent))
        decimals = min(1 - _order(known, digits=2), 3 - exponent)
        return Number(_fixed(value, decimals), _fixed(known, decimals))
    # in decimal, as 10.0**-324 is 0
    mantissa, spread = (float(Decimal(v).scaleb(-exponent)) for v in (value, known))
    if not known:
        return Number(_fixed(mantissa, 2), exponent=exponent)
    decimals = min(1 - _order(spread, digits=2), 2)
    return Number(_fixed(mantissa, decimals), _fixed(spread, decimals), exponent)


def significant(value: float, error: float | None = None) -> Number:
    """Three significant digits with commas at the thousands, and no error: seconds, p-values."""
    if not math.isfinite(value):
        return Number(str(value))
    return Number(_fixed(value, max(0, 2 - _order(value, digits=3))))


def probability(value: float, error: float | None = None) -> Number:
    """A p-value to three digits, in scientific form below 1e-4."""
    return significant(value, error) if value >= 1e-4 or value == 0 else scientific(value)


def count(value: float, error: float | None = None) -> Number:
    """A count to three digits: 512, 98.6K, 1.25M."""
    if not math.isfinite(value):
        return Number(str(value))
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= 0.9995 * factor and abs(value) >= 1000:
            scaled = value / factor
            digits = _fixed(scaled, max(0, 2 - _order(scaled, digits=3)))
            return Number((digits.rstrip("0").rstrip(".") if "." in digits else digits) + letter)
    return Number(f"{value:.4g}")


def exact(value: float, error: float | None = None) -> Number:
    """A count in full, with commas at the thousands."""
    return Number(f"{value:,.0f}")


def memory(value: float, error: float | None = None) -> Number:
    """Bytes in the binary unit that fits: 812 KiB, 512 MiB, 1.50 GiB."""
    if not math.isfinite(value):
        return Number(str(value))
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = 0
    while abs(value) >= 1023.5 and power < len(units) - 1:
        value, power = value / 1024, power + 1
    if power == 0:
        return Number(f"{value:.0f}", unit="B")
    return Number(_fixed(value, max(0, 2 - max(_order(value, digits=3), 0))), unit=units[power])


def duration(seconds: float) -> str:
    """Seconds in the units that a person waits in, two of them: 45 s, 3 min 20 s, 5 h 2 min."""
    left = max(round(seconds), 1)
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        number, left = divmod(left, size)
        if number or parts:
            parts.append(f"{number} {unit}" if number else "")
        if len(parts) == 2:
            break
    return " ".join(filter(None, parts))


def whole(value: float) -> str:
    """An integer with commas at the thousands."""
    return f"{int(value):,}"


def span(values: pd.Series[Any]) -> str:
    """One number, or the range from the least to the greatest; empty where none is known."""
    known = values.dropna()
    if not len(known):
        return ""
    low, high = whole(known.min()), whole(known.max())
    return low if low == high else f"{low}–{high}"


def _order(value: float, digits: int = 16) -> int:
    """The power of ten of a value's first digit, once it is rounded to so many digits."""
    return 0 if value == 0 else int(f"{abs(value):.{digits - 1}e}".partition("e")[2])


def _fixed(value: float, decimals: int) -> str:
    """The value to so many decimals; a negative number of them rounds to tens, hundreds, ..."""
    text = f"{round(value, decimals):,.{max(decimals, 0)}f}"
    return text.removeprefix("-") if not text.strip("-0.,") else text
