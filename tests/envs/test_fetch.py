"""Fetching released files: from a folder and from a server on this machine; never the network."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sim.envs import fetch as fetching
from sim.envs.blobs import RELEASED
from sim.envs.fetch import data_folder, fetch

CONTENT = bytes(range(256)) * 1000
"""Takes the place of a released file; several reads long."""


def blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture(autouse=True)
def released(monkeypatch: pytest.MonkeyPatch) -> None:
    """CQA and SB are small made-up files here; proxies are not asked."""
    monkeypatch.setitem(RELEASED, "CQA", blob_id(CONTENT))
    monkeypatch.setitem(RELEASED, "SB", blob_id(b"SB"))
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder with two released files, one of them wrong."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / "CQA_final.pkl").write_bytes(CONTENT)
    (folder / "SB_final.pkl").write_bytes(b"something else")
    return folder


class Handler(http.server.BaseHTTPRequestHandler):
    """/good serves, /short promises more than it sends, /wrong serves other bytes, /silent says no length."""

    def do_GET(self) -> None:
        where, _, name = self.path.strip("/").partition("/")
        if name != "CQA_final.pkl" or where not in ("good", "short", "wrong", "silent"):
            self.send_error(404)
            return
        content = b"wrong" if where == "wrong" else CONTENT
        self.send_response(200)
        if where != "silent":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:-1000] if where == "short" else content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()
        thread.join()


def test_ids_are_the_published_ones(math_path: Path) -> None:
    assert RELEASED["MATH"] == "50a3f35a26c689c611f92a32248624c7e9bcc302" == blob_id(math_path.read_bytes())
    assert list(RELEASED) == ["MATH", "CQA", "HH", "SB", "Summarization"]


def test_from_a_folder(tmp_path: Path, math_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    assert fetch(["MATH"], math_path.parent, folder) == [folder / "MATH_final.pkl"]
    assert (folder / "MATH_final.pkl").read_bytes() == math_path.read_bytes()
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("where", ["good", "good/", "silent"])
def test_from_a_server(tmp_path: Path, server: str, where: str) -> None:
    told = []
    paths = fetch(["CQA"], f"{server}/{where}", tmp_path, lambda *news: told.append(news))
    assert paths == [tmp_path / "CQA_final.pkl"]
    assert paths[0].read_bytes() == CONTENT
    total = None if where == "silent" else len(CONTENT)
    assert told[-1] == ("CQA_final.pkl", len(CONTENT), total)
    assert [news[1] for news in told] == sorted({news[1] for news in told})
    assert len(told) > 1


def test_what_is_there_and_whole_is_left_alone(tmp_path: Path, shelf: Path, server: str) -> None:
    path = tmp_path / "CQA_final.pkl"
    fetch(["CQA"], shelf, tmp_path)
    before = path.stat()
    assert fetch(["CQA"], tmp_path / "no such folder", tmp_path) == [path]
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    path.write_bytes(CONTENT[:-1])
    fetch(["CQA"], f"{server}/good", tmp_path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("short", r"/short/CQA_final\.pkl: (ended after 255000 of 256000 bytes|cannot be fetched)"),
        ("wrong", f"git blob id {blob_id(b'wrong')}; expected {blob_id(CONTENT)}"),
        ("absent", r"/absent/CQA_final\.pkl: cannot be fetched \(HTTP Error 404: Not Found\); `--from` takes a folder"),
    ],
)
def test_bad_downloads_leave_nothing(tmp_path: Path, server: str, where: str, problem: str) -> None:
    folder = tmp_path / "new" / "data"
    with pytest.raises(ValueError, match=problem) as caught:
        fetch(["CQA"], f"{server}/{where}", folder)
    assert "\n" not in str(caught.value)
    assert "in place" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    folder.parent.mkdir()
    with pytest.raises(ValueError, match=problem):
        fetch(["CQA"], f"{server}/{where}", folder)
    assert list(folder.parent.iterdir()) == []
    folder.mkdir()
    with pytest.raises(ValueError, match=problem):
        fetch(["CQA"], f"{server}/{where}", folder)
    assert list(folder.iterdir()) == []


def test_what_was_fetched_before_a_failure_is_named(tmp_path: Path, shelf: Path) -> None:
    folder = tmp_path / "new"
    with pytest.raises(ValueError, match=rf"HH_final\.pkl: no such file.*; in place in {folder}: CQA_final\.pkl$"):
        fetch(["CQA", "HH"], shelf, folder)
    assert [path.name for path in folder.iterdir()] == ["CQA_final.pkl"]


def test_a_wrong_file_in_a_folder_is_not_kept(tmp_path: Path, shelf: Path) -> None:
    path = tmp_path / "SB_final.pkl"
    path.write_bytes(b"old and damaged")
    with pytest.raises(ValueError, match=f"{blob_id(b'something else')}; expected {blob_id(b'SB')}; it was not kept"):
        fetch(["SB"], shelf, tmp_path)
    assert path.read_bytes() == b"old and damaged"
    assert {entry.name for entry in tmp_path.iterdir()} == {"shelf", "SB_final.pkl"}
    with pytest.raises(ValueError, match=r"HH_final\.pkl: no such file; the source must be a folder"):
        fetch(["HH"], shelf, tmp_path)


def test_no_network_is_one_sentence(tmp_path: Path) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        port = httpd.server_address[1]
    url = f"http://127.0.0.1:{port}"
    with pytest.raises(ValueError, match=rf"{url}/CQA_final\.pkl: cannot be fetched .*refused.*`--from` takes"):
        fetch(["CQA"], url, tmp_path)
    for bad in ("ftp://127.0.0.1", "file:///etc"):
        with pytest.raises(ValueError, match="only http and https"):
            fetch(["CQA"], bad, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_size_is_capped(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_BYTES", 100_000)
    with pytest.raises(ValueError, match="sends more than 100000 bytes"):
        fetch(["CQA"], f"{server}/silent", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "suggestion"), [("math", "MATH"), ("Sumarization", "Summarization"), ("CQA_final.pkl", "CQA")]
)
def test_unknown_names_suggest_the_nearest(tmp_path: Path, name: str, suggestion: str) -> None:
    with pytest.raises(ValueError, match=f"unknown released file '{name}'; did you mean '{suggestion}'\\? known are"):
        fetch([name], None, tmp_path)
    with pytest.raises(ValueError, match="unknown released file 'xyzzy'; known are MATH, CQA"):
        fetch(["xyzzy"], None, tmp_path)


def test_the_users_data_folder(tmp_path: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert data_folder() == tmp_path / "xdg" / "iapo-testbed"
    assert fetch(["CQA"], shelf) == [tmp_path / "xdg" / "iapo-testbed" / "CQA_final.pkl"]
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert data_folder() == Path.home() / ".local" / "share" / "iapo-testbed"
    with pytest.raises(ValueError, match="cannot be made a folder"):
        fetch(["CQA"], shelf, shelf / "CQA_final.pkl")
