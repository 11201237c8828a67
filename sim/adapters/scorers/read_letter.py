# ruff: noqa: RUF001
r"""The letter of a multiple choice that a text settles on, in whatever mark-up and script it is given.

The last letter in a box, else the last one after a word for "answer", else one in brackets or after "option", else the
last one that stands alone. One that another is joined to (B or C), that is said to be wrong, or that only marks an
option in a list of them is none. Letters may be quoted, bold, code, mathematics (`$C$`) or a LaTeX command's
(`\textbf{C}`).
"A" and "I" before a word are words, and letters of formulas (A + B = 3), degrees (25 °C) and names (D.C.) are none.
Letters that only look like the ones to choose from, as those of Cyrillic, are not read: the third one there is like B.
"""

import re
from functools import lru_cache

from sim.adapters.scorers.read_number import UNSPACED

_PLAINER = (
    {full: full - 0xFEE0 for full in (*range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))}
    | dict(zip(map(ord, "（）：．［］＝，【】〔〕"), "():.[]=,()()", strict=True))
    | dict.fromkeys((0x200B, 0x2060, 0xFEFF, 0x00AD), None)
    | dict.fromkeys(map(ord, "\u00a0\u202f\u2009\u3000"), " ")
)
_LETTER = rf"[^\W{UNSPACED}]"
"""Of a word in a script with spaces between words."""
_BEFORE, _AFTER = rf"(?<!{_LETTER})(?<!')", rf"(?!{_LETTER}|'\w|’\w)"
_QUOTES = "\"'`“”„‟‘’‚«»‹›「」『』《》〈〉"
_MARKS = (
    rf"(?:[\s*_~#$(\[{{>{_QUOTES}]|</?\w{{1,10}}>|\\[(\[]"
    r"|\\(?:text|math|bf|rm|mbox|underline|emph|left|bm|operatorname|displaystyle|fbox|large|Large)\w{0,8})*+"
)
"""Signs that may stand before a letter, or mark it off."""
_LINKS = (
    "is was are be here therefore thus then clearly simply now option choice letter number est es ist è é lautet la le"
    " il o der die das opción opção opzione correcta corretta correta correcte richtig вариант буква 就是 应该是"
    " 應該是 应该选 应为 應為 应选 是 为 為 选项 選項 选择 選擇 选 選 は、 は が 은 는 이 가"
).replace(" ", "|")
_IS = (
    rf"(?>(?:\s*+(?:{_LINKS}|(?:would|must|should|has to|can only) be|a(?=\s+[\"'(]?[A-Z]\b))(?!{_LETTER})"
    r"|\s*+[:=\-\u2013\u2014\u2192]+|[\s*_~#$\"'`]+){0,12})"
)
"""Words and signs that may come between a word for "answer" and the letter."""
_WORDS = (
    "answers? antwort réponse respuesta risposta resposta ответ відповідь odpowiedź odpověď svar antwoord cevap jawaban"
    " الجواب الإجابة उत्तर"
).replace(" ", "|")
_ANSWER = (
    r"(?<![Ww]rong )(?<!ncorrect )(?<!not the )(?<!not the correct )(?<!</)(?<!\b[Ii]f the )(?<!\b[Ii]s the )"
    rf"(?<!hether the )(?:\b(?i:{_WORDS}|đáp án|ans(?=[\s:>.*=]))"
    r"|答案|正解|答え|解答|回答|正答|정답|(?<!대)답|(?<!不)(?<!别)[选選](?!项|項)(?:择|擇)?"
    r"|(?i:choice|option)(?=\s*+(?:is|:|=)))"
)
_NAMED = r"(?:(?i:choice|option|opción|opção|opzione|вариант)|选项|選項|選択肢|보기)"
_FOLLOWS = (
    r"because|since|is|was|as|for|due|and|or|follows|would|should|must|seems|looks|matches|by|with|but|so|given|when|where"
    r"|which|while|if|from|using|in|on|at|here|too|also|can|cannot|has|gives|holds|works|only"
)
"""Words that may follow a letter; before others a vowel is a word of its own in some language, as English has A."""
_FOLLOW_I = r"because|since|is|as|for|due|follows|seems|looks|matches|has|gives|holds|works"
_FORMULA_BEFORE = (
    r"(?<![=+^°º/\\])(?<![+^°º] )(?<!\\circ)(?<!\\cup )(?<!\\cap )(?<!\\times )(?<!\\cdot )(?<!\\in )(?<!\\to )"
    r"(?<!\w-)(?<!\w\.)(?<!vitamin )(?<!Vitamin )(?<!epatitis )"
)
_FORMULA_AFTER = r"(?! ?[=+^](?!>)| ?\\(?!text|quad|qquad|boxed)[a-z]|-\w|\.\w\.|\.[a-z]|\+|#|/\w)"
_DENIED = (
    "".join(
        f"(?<!{words} )"
        for words in (
            *(
                "not",
                "Not",
                "n't",
                "not be",
                "n't be",
                "nor",
                "neither",
                "Neither",
                "than",
                "instead of",
                "wrong answer is",
            ),
            *("nicht", "no es", "no es la", "n'est pas", "n'est pas la", "não é", "não é a", "non è", "non è la", "не"),
        )
    )
    + "(?<!不是)(?<!不选)(?<!不選)(?<!并非)(?<!而非)"
)
_WRONG = (
    r"(?![)\].:*_$\"'`]*\s*(?:(?:is|was|are|were|seems?)(?: \w+)? (?:not|wrong|incorrect|false|invalid)\b|isn't"
    r"|(?:cannot|can't|can not) be|(?:不对|不對|错|錯|不正确|不正確|是错|是錯)))"
)
"""Words that say of the letter before them that it is not the answer."""
_JOIN = (
    r"[)\]*_$\"'`}]*+\s*+(?:[,;]?\s*+(?:or|and|plus|as well as|oder|und|ou|et|o|y|e|или|и)"
    r"(?:\s+(?:maybe|possibly|perhaps|also|even))?"
    r"(?!\w)|[,;&/、或和]|\\text\s*\{\s*(?:or|and)\s*\})\s*+"
)
"""Words that join two letters, so that neither is the answer alone."""


def choose(text: str, letters: str) -> str | None:
    """The letter in upper case; None where there is none, or more than one is the answer."""
    ways = _ways(letters)
    text = text.translate(_PLAINER)
    if alone := ways["alone"].fullmatch(text):
        return _letter(alone)
    if boxed := _last(ways["boxed"], text):
        return None if ways["joined"].match(text, boxed.start(boxed.lastindex or 0)) else _letter(boxed)
    if ways["boxes"].search(text):
        return None
    if given := _last(ways["given"], text):
        return None if ways["several"].match(text, given.end()) else _letter(given)
    bracket, named = _last(ways["bracket"], text), _last(ways["named"], text)
    last = bracket
    if bracket is None or (named is not None and named.start() > bracket.start()):
        last = _last(ways["standing"], text) or named
    if last is None or any(one.start() <= last.start() < one.end() for one in ways["pair"].finditer(text)):
        return None
    return None if _echoed(text, last, letters) else _letter(last)


def _echoed(text: str, last: re.Match[str], letters: str) -> bool:
    """Whether a letter is only the mark of an option that a text lists after the one before it, "A) 3 B) 4"."""
    letter = _letter(last)
    marks = re.findall(r"(?<!\S)\(?([A-Z])[).:](?=\s)", text)
    place = letters.find(letter)
    ends = re.match(r"[).:]\s", text[last.end(last.lastindex or 0) :]) is not None
    return ends and place > 0 and marks.count(letter) == 1 and letters[place - 1] in marks


def only(gold: str, letters: str) -> str | None:
    """The letter of a right answer: alone or marked off, as in "A) Paris", and the only one; None for all else."""
    found = _ways(letters)["gold"].fullmatch(gold.translate(_PLAINER).strip())
    return None if found is None else _letter(found)


@lru_cache(maxsize=64)
def _ways(letters: str) -> dict[str, re.Pattern[str]]:
    """The patterns for some letters; each has the letter in the last group that took part."""
    upper, lower = f"[{letters}]", f"[{letters.lower()}]"
    either = f"[{letters}{letters.lower()}]"
    word = rf"(?![AEOUY][ \t]+(?!(?:{_FOLLOWS})\b)[^\W\d_])(?!I[ \t]+(?!(?:{_FOLLOW_I})\b)[^\W\d_])"
    starts = rf"(?:(?<=[:\n{_QUOTES}*])|(?<=[:\n{_QUOTES}*] )|\A|(?<=[.!?] ))"
    capital = rf"(?:(?!{starts}){upper}|{word}{upper}){_AFTER}(?!\+\+|#|-\w)"
    small = rf"{lower}(?=[)\]}}$]|\s*[.,;:!?*。，、！{_QUOTES}<]|\s*$|[ \t]*\n)"  # "a" before a word is a word
    letter = rf"(?:({capital})|({small}))"
    listed = rf"[(\[]?{either}[)\]]"
    more = rf"\s*(?i:or|and)\b|.*(?<![\w'(\[]){listed}"
    closed = r"(?:[\s*_~#$)\]}.:,;!?。！>\\]|[" + _QUOTES + r"]|</?\w{1,10}>)*+"
    return {
        "alone": re.compile(rf"{_MARKS}({either}){closed}"),
        "boxed": re.compile(
            rf"\\boxed\s*+\{{{_MARKS}(?:({either})(?=\s*+[)\]}}.:])|"
            rf"({upper})(?=\s*+(?:[~$]|\\(?:[ ,;:!]|q?quad|text|hspace))))"
        ),
        "given": re.compile(
            rf"{_ANSWER}(?:</?\w{{1,10}}>)?+{_IS}{_MARKS}(?i:choice|option)?+{_MARKS}{letter}(?!\s*+\?)"
        ),
        "several": re.compile(
            rf"[)\]*$\"'`]*+\s*+(?:(?:,?\s*+(?:or|and|plus|as well as|и|или|und|oder|et|ou|y|o)"
            rf"(?:\s+(?:maybe|possibly|perhaps|also|even))?|[&/+;、或和])\s*+"
            rf"{_MARKS}{upper}{_AFTER}(?! (?:is|was|are)\b)"
            rf"|,\s*+{_MARKS}{upper}(?:{_AFTER}(?=\s*+(?:,|and\b|or\b|&|\.?\s*+\Z))))"
        ),
        "joined": re.compile(rf"{upper}{_JOIN}{_MARKS}{upper}{_AFTER}"),
        "boxes": re.compile(rf"\\boxed\s*+\{{{_MARKS}{upper}{_JOIN}{_MARKS}{upper}{_AFTER}"),
        "pair": re.compile(rf"{_BEFORE}{_MARKS}{upper}(?:{_JOIN}{_MARKS}{upper}[)\]}}]?+{_AFTER})++"),
        "bracket": re.compile(rf"(?<![A-Za-z])\(\s*+({upper})\s*+\){_WRONG}"),
        "named": re.compile(rf"{_DENIED}{_NAMED}(?!s){_MARKS}{letter}{_WRONG}"),
        "standing": re.compile(
            rf"{_BEFORE}(?<![A-Za-z]\(){_DENIED}{_FORMULA_BEFORE}{word}({upper}){_AFTER}{_FORMULA_AFTER}{_WRONG}"
        ),
        "gold": re.compile(
            rf"\\boxed\{{{_MARKS}({either})\s*\}}+|{_MARKS}({either})[*_$`\"'”’»}})\]]*+[.。]?|"
            rf"[(\[]?({either})(?:[)\].:]+(?:\s(?!{more}).*)?)?",
            re.DOTALL,
        ),
    }


def _letter(found: re.Match[str]) -> str:
    return found[found.lastindex or 0].upper()


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """Where a pattern matches last."""
    last = None
    for found in pattern.finditer(text):
        last = found
    return last
