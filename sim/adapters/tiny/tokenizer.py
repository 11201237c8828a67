"""Vocabularies of the tiny models, text to tokens and back, and the layout of a chat.

A token is a word that a model was trained on, or a single character; blanks separate and are dropped, case too.
"""

import re
from collections.abc import Iterable

PAD, BOS, USER, REPLY, EOS, UNKNOWN = range(6)
"""Filler, start of a chat, start of the question, start of the answer, end of the answer, any other character."""
MARKERS = ("<pad>", "<bos>", "<user>", "<reply>", "<eos>", "<unknown>")
SYMBOLS = "0123456789+;abcdefghijklmnopqrstuvwxyz.,:?!='-"
PIECES = re.compile(r"[a-z]+|\S")


class Vocabulary:
    """The tokens of one model: the markers, its words, and single characters.

    Attributes:
        tokens: text of every token, by number.
        ids: number of every token.
    """

    def __init__(self, words: Iterable[str]):
        self.tokens = (*MARKERS, *words, *SYMBOLS)
        self.ids = {token: number for number, token in enumerate(self.tokens)}

    def encode(self, text: str) -> list[int]:
        """Tokens of a text; letters one by one where a word is not in the vocabulary."""
        pieces = PIECES.findall(text.lower())
        whole = ([piece] if piece in self.ids else piece for piece in pieces)
        return [self.ids.get(token, UNKNOWN) for tokens in whole for token in tokens]

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of tokens, a blank between any two; markers are left out."""
        return " ".join(self.tokens[token] for token in tokens if token > UNKNOWN)

    def chat(self, system: str, user: str) -> list[int]:
        """Tokens of a chat up to where the model answers."""
        return [BOS, *self.encode(system), USER, *self.encode(user), REPLY]


SUMS = Vocabulary(("answer", "at", "once", "work", "step", "by", "check", "twice", "ok", "no"))
"""Of the model that adds."""
