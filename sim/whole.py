"""Whole numbers as people write them: 5000, 5k, 2.5M, 1e4, 1,000 or 1_000."""

import re
from decimal import Decimal

EXAMPLES = "5000, 5k, 1e4 or 1,000"
_WRITTEN = re.compile(r"([+-]?(?:\d{1,3}(?:,\d{3})+|\d+(?:_\d+)*)(?:\.\d+)?)(?:[eE]\+?(\d{1,4})|([kKM]))?", re.ASCII)
_POWERS = {None: 0, "k": 3, "K": 3, "M": 6}
_MOST_DIGITS = 30
"""More than anything here can count, and few enough to say."""


def whole(written: object) -> int:
    """Read a whole number: k stands for thousands and M for millions, commas and underscores part the thousands.

    Args:
        written: text, or a number that is whole, such as 1e4 in a TOML file.

    Raises:
        ValueError: anything else; the sentence begins with "is", for the name of what holds it to go before.

    Example:
        >>> from sim.whole import whole
        >>> [whole(text) for text in ("5k", "1e4", "1,000", "1_000", "2.5M")]
        [5000, 10000, 1000, 1000, 2500000]
    """
    known = isinstance(written, str | int | float) and not isinstance(written, bool)
    text = written.strip() if isinstance(written, str) else repr(written)
    found = _WRITTEN.fullmatch(text) if known else None
    if found is None:
        raise ValueError(f"is {_shown(written)}; expected a whole number, as in {EXAMPLES}")
    number = Decimal(re.sub("[,_]", "", found[1]))
    power = int(found[2]) if found[2] else _POWERS[found[3]]
    if number and number.adjusted() + power >= _MOST_DIGITS:
        raise ValueError(f"is {_shown(written)}, which is too large; expected a whole number, as in {EXAMPLES}")
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    shift = exponent + power
    value = int("".join(map(str, digits))) * 10 ** max(shift, 0)
    value, rest = divmod(value, 10 ** max(-shift, 0))
    if rest:
        raise ValueError(f"is {_shown(written)}, which is not whole; expected a whole number, as in {EXAMPLES}")
    return -value if sign else value


def _shown(written: object) -> str:
    text = repr(written)
    return text if len(text) <= 40 else f"{text[:30]}...{text[-4:]}"
