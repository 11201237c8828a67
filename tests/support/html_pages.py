"""Pages of HTML as tests look at them: elements, tables, addresses, by the parser of the standard library."""

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "hr", "input"}
INNER = re.compile(r"url\(([^)]*)\)")


class Page(HTMLParser):
    """A page that was read.

    Attributes:
        tags: every element: name and attributes, in order.
        tables: rows of texts of every table, its head first.
        text: all text outside of style and script.
        addresses: what src, href, action and url(...) name.
        unclosed: elements that are open at the end, or were closed out of turn.
    """

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self.unclosed: list[str] = []
        self._open: list[str] = []
        self.addresses = INNER.findall(text)
        self.feed(text)
        self.close()
        self.unclosed += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.addresses += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action", "srcset", "data")
        ]
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()
        else:
            self.unclosed.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        if {"style", "script"} & set(self._open):
            return
        self.text += data
        if self._open and self._open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data


def whole(text: str) -> Page:
    """A page that is well-formed and asks for nothing outside itself: every address is a part of it or data.

    No identifier comes twice, and each that is named is there.
    """
    page = Page(text)
    assert page.unclosed == []
    ids = [value for _, attributes in page.tags if (value := attributes.get("id"))]
    assert len(ids) == len(set(ids))
    for address in page.addresses:
        assert address.startswith(("#", "data:")), address
        assert not address.startswith("#") or address.removeprefix("#") in ids, address
    assert "@import" not in text
    policies = [tag["content"] for name, tag in page.tags if tag.get("http-equiv") == "Content-Security-Policy"]
    assert [str(policy).split(";")[0] for policy in policies] == ["default-src 'none'"]
    assert "viewport" in [tag.get("name") for name, tag in page.tags if name == "meta"]
    return page
