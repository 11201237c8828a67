# ruff: noqa: RUF001
r"""The last number in a text, however its digits are grouped and its sign is written.

Groups of three digits may be set apart by a comma, a space of any width, an apostrophe, an underscore or one of LaTeX's
signs (`9{,}500`, `10\,000`), from two groups on by points (1.234.567), and as in India (12,34,567). A point or, after
groups set apart by something else, a comma begins the decimals. What may be one number or several (100 200 300; 1,5),
is none (1.2.3; 12:30), or is a part of another one (3/4, 2^10, 5 million, 5 ± 0.2) is not read: a wrong answer is worse
than none. Where a text has a box (\boxed{42}), it is the last number there.
"""

import re
from decimal import Decimal, InvalidOperation

CURRENCIES = "$€£¥₹"
_MAX_DIGITS = 400
_THIN = "\u2009"
"""Stands for every space that sets groups of digits apart."""
UNSPACED = "\u0e00-\u0e7f\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef"
"""Scripts that set no spaces between words, so that a sign or a letter may follow a word at once."""
_WIDTHS = {full: full - 0xFEE0 for full in (*range(0xFF10, 0xFF1A), 0xFF0E, 0xFF0D, 0xFF0B, 0xFF04, 0xFF05)}
_PLAINER = (
    _WIDTHS
    | {ord(space): _THIN for space in "\u00a0\u202f\u205f" + "".join(map(chr, range(0x2002, 0x200B)))}
    | {ord(sign): "-" for sign in "\u2212\u2010\u2011\ufe63"}
    | {ord(mark): "'" for mark in "\u2019\u2018\u02bc\uff07"}
    | {0x066B: ".", 0x066C: ",", 0xFFE5: "¥"}
    | dict.fromkeys((0x200B, 0x2060, 0xFEFF, 0x00AD), None)
)
_WIDE_COMMA = re.compile(r"(?<=[\uff10-\uff19])\uff0c(?=[\uff10-\uff19])")
"""Elsewhere this comma parts clauses."""
_REWRITTEN = [
    (re.compile(r"\{,\}|,\\!"), ","),
    (re.compile(r"(?<=\d)(?:\\[,;: !]|\{\\[,;: ]\}|~|\\thinspace ?|&(?:nbsp|thinsp|#160|#8239);)(?=\d{3})"), _THIN),
    (re.compile(r"\\(?=[$%])"), ""),
    (re.compile(rf"(?<![\w.)])(?<!\d )\u2013(?=[{CURRENCIES}]?\d)|(?<=[=:(] )\u2013(?= \d)"), "-"),
    (re.compile(r"(?<=10)[⁻⁺]?[⁰¹²³⁴-⁹]+"), lambda found: "^" + found[0].translate(_RAISED)),
]
_RAISED = str.maketrans("⁻⁺⁰¹²³⁴⁵⁶⁷⁸⁹", "-+0123456789")
_SIGN = rf"(?:(?:(?<![\w.)])|(?<=[{UNSPACED}]))[-+][{CURRENCIES}]?|(?:(?<=[=:(])|(?<=[=:(] ))[-+] )"
"""A space may follow it only after an equals sign, a colon or a bracket: 10 - 5 has none."""
_TENS = r"(?:\s?(?:×|\\times|\\cdot|·|\*|x)\s?10\s?(?:\^|\*\*)\s?\{?(?P<tens>[-+]?\d++)\}?)"
_VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
NUMBER = (
    rf"(?P<sign>{_SIGN})?(?:(?P<dotted>\d{{1,3}}(?:(?:\.\d{{3}}){{2,}}+(?:,\d+)?(?!\.?\d)|(?:\.\d{{3}})++,\d\d?(?!\d)))"
    rf"|(?P<none>\d++(?:\.\d++){{2,}}+|[{_VULGAR}])"
    rf"|(?P<spaced>\d{{1,3}}(?P<gap>[{_THIN} '_])\d{{3}}(?:(?P=gap)\d{{3}}){{0,9}}+(?!\d)(?:,\d\d?(?!\d)|\.\d+)?)"
    r"|(?P<plain>(?:\d{1,2}(?:,\d\d(?=,)){1,9},\d{3}(?!\d)|\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![\d.])\.\d+)"
    rf"(?:{_TENS}|(?P<exponent>[eE][-+]?\d++(?!\w|\.\d)))?)"
)
"""One number in a text that went through `plainer`; `value` says what it is."""
_FOUND = re.compile(
    rf"(?P<raised>(?<=[^\W\d_]\^)\d+|(?<=[^\W\d_]\^\{{)-?\d+|(?<=\}}\^)\d+|(?<=\}}\^\{{)-?\d+|(?<=[^\W\d_]\$\^)\d+"
    rf"|(?<=[A-Z])(?<![A-Z]{{3}})\d(?!\d|[.,]\d))|{NUMBER}"
)
_BEFORE = re.compile(
    r"(?:\d[,:^]|\d\s?/\s?|\d\s?(?:\^|\*\*)\s?\{?\s?|\d{4}-\d\d?-|\}\s?\{|frac\d|\\sqrt(?:\[\w+\])?\s?\{?|√\(?"
    rf"|(?:±|\\pm|\+/-|\+/)\s?[{CURRENCIES}]?|(?<!\w)0[xX])\Z"
)
"""Signs that make a number after them a part of another one, or of several."""
_AFTER = re.compile(
    rf"\s?[{_VULGAR}]|[⁰¹²³⁴-⁹⁻]|\}}\s?\{{|\s?(?:π|\\pi\b|√)|\^\{{?[a-z]\}}?(?![a-z])|(?:[kKM]|[mb]n|B)\b"
    rf"|(?:[ \-{_THIN}$*~}}]|\\[ ,;:]|\\(?:text|mathrm)\s?\{{)*+"
    r"(?:(?i:hundred|thousand|(?:m|b|tr)illion|dozen|lakh|crore)s?\b"
    r"|(?i:and (?:a|one|three) (?:half|quarter|third)s?\b|milli(?:ard|on)\w*|mio\b|mrd\b|mil\b|tausend)"
    r"|тыс|миллион|миллиард|млн|млрд|[万萬亿億兆만억]|[千百](?!克|米|瓦|卡|赫|字))"
)
"""Signs that make a number before them a part of another one."""
_BOX = re.compile(r"\\boxed\s*+\{")


def plainer(text: str) -> str:
    """Text whose digits, signs and group signs are of few kinds."""
    text = _WIDE_COMMA.sub(",", text).translate(_PLAINER)
    for pattern, new in _REWRITTEN:
        text = pattern.sub(new, text)
    return text


def last_number(text: str, digits: int | None = None) -> str | None:
    """The last number in plain notation; None where there is none, or the last one may be several or a part of one."""
    text, last = plainer(text), None
    for found in _FOUND.finditer(text, *_boxed(text)):
        if found["raised"] is None:  # an exponent, as in cm^2, or a part of a name, as in CO2
            last = found
    if last is None or _BEFORE.search(text, max(0, last.start() - 20), last.start()) or _AFTER.match(text, last.end()):
        return None
    return value(last, digits)


def _boxed(text: str) -> tuple[int, int]:
    """Where the last box begins and ends that holds anything, of the last three, else the text."""
    for box in reversed(list(_BOX.finditer(text))[-3:]):
        depth = 1
        for place in range(box.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if depth == 0:
                if text[box.end() : place].strip():
                    return box.end(), place
                break
    return 0, len(text)


def value(found: re.Match[str], digits: int | None = None) -> str | None:
    """A match of `NUMBER` in plain notation; None where it may be several numbers."""
    if found["none"] is not None:
        return None
    if found["spaced"] is not None:
        groups = found["spaced"].split(found["gap"])
        if found["gap"] == " " and len(groups[0]) == 3 and "000" not in groups:
            return None
        body = "".join(groups).replace(",", ".")
    elif found["dotted"] is not None:
        body = found["dotted"].replace(".", "").replace(",", ".")
    else:
        body = found["plain"].replace(",", "") + (found["exponent"] or "")
        if found["tens"] is not None:
            body += f"e{found['tens']}"
    return canonical_number(("-" if (found["sign"] or "").startswith("-") else "") + body, digits)


def canonical_number(text: str, digits: int | None = None) -> str | None:
    """Plain decimal notation without needless zeros; None for what is no number of sensible length."""
    try:
        number = Decimal(text.replace(",", "").replace("\u2212", "-"))
    except InvalidOperation:
        return None
    if not number.is_finite() or len(number.as_tuple().digits) > _MAX_DIGITS or abs(number.adjusted()) > _MAX_DIGITS:
        return None
    if digits is not None:
        number = number.quantize(Decimal(1).scaleb(-digits)) if number.adjusted() + digits < 28 else number
    plain = format(number, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain in ("-0", "") else plain
