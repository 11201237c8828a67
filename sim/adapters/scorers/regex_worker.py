"""Matches regular expressions in a process of its own, which may be killed at any moment: a JSON line in and out.

Run as a script; needs nothing of this project.
"""

import json
import re
import sys


def last_match(pattern: str, group: int, text: str) -> str:
    """The last match of the group, spaces at both ends left out; empty where nothing did.

    Empty matches do not count: expressions such as (.*) end with one in every text.
    """
    found = ""
    for match in re.finditer(pattern, text):
        if match.group() or match.group(group):
            found = match.group(group)
    return (found or "").strip()


def whole_match(pattern: str, groups: list[str], text: str) -> list[str] | None:
    """Texts of the named groups where the pattern matches the whole text; None where it or one of them does not."""
    match = re.fullmatch(pattern, text)
    if match is None or None in (found := [match[name] for name in groups]):
        return None
    return found


def main() -> None:
    """Answer line after line until the input ends."""
    for line in sys.stdin:
        task = json.loads(line)
        if "groups" in task:
            found = whole_match(task["pattern"], task["groups"], task["text"])
        else:
            found = last_match(task["pattern"], task["group"], task["text"])
        sys.stdout.write(json.dumps({"found": found}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
