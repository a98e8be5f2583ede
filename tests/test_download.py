"""Downloads from a server of this machine that can do ranges, or not, or breaks off."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from d2it.download import DownloadError, fetch, part_of

CONTENT = bytes(range(256)) * 10_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ORDER = threading.Lock()


@dataclass
class Server:
    """What it does, and the ranges that it was asked for, None for a whole file."""

    url: str = ""
    content: bytes = CONTENT
    does_ranges: bool = True
    breaks_off_after: int | None = None  # bytes of an answer
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    """Serves one file under any address."""
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with ORDER:
                state.asked.append(self.headers["Range"])
            start = 0
            if state.does_ranges and self.headers["Range"]:
                start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
                if start >= len(state.content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
            else:
                self.send_response(200)
            body = state.content[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.breaks_off_after])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        state.url = f"http://127.0.0.1:{httpd.server_port}/file.pth"
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield state
        httpd.shutdown()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "file.pth"


def only(path: Path) -> bool:
    """Whether the file is there and right, and nothing else is in its folder."""
    return path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]


def test_the_file_appears_whole_and_alone(server: Server, path: Path) -> None:
    fetch(server.url, path, SHA256)
    assert only(path)
    assert server.asked == [None]


def test_a_download_that_was_broken_off_goes_on_where_it_was(server: Server, path: Path) -> None:
    server.breaks_off_after = 1_500_000
    with pytest.raises(DownloadError, match=r"ended after 1,500,000 of 2,560,000 bytes \(1,500,000 bytes are kept"):
        fetch(server.url, path, SHA256)
    assert not path.exists()
    assert part_of(path).read_bytes() == CONTENT[:1_500_000]
    server.breaks_off_after = None
    fetch(server.url, path, SHA256)
    assert only(path)
    assert server.asked == [None, "bytes=1500000-"]


def test_a_server_without_ranges_starts_anew(server: Server, path: Path) -> None:
    path.parent.mkdir()
    part_of(path).write_bytes(CONTENT[:1000])
    server.does_ranges = False
    fetch(server.url, path, SHA256)
    assert only(path)


@pytest.mark.parametrize("does_ranges", [True, False])
def test_a_part_that_is_whole_already_only_gets_its_name(server: Server, path: Path, does_ranges: bool) -> None:
    path.parent.mkdir()
    part_of(path).write_bytes(CONTENT)
    server.does_ranges = does_ranges
    fetch(server.url, path, SHA256)
    assert only(path)


@pytest.mark.parametrize("part", [b"other bytes", CONTENT + b"more", CONTENT[:-1] + b"x"])
def test_a_part_of_another_file_is_fetched_anew(server: Server, path: Path, part: bytes) -> None:
    path.parent.mkdir()
    part_of(path).write_bytes(part)
    fetch(server.url, path, SHA256)
    assert only(path)
    assert server.asked[-1] is None


def test_other_bytes_leave_nothing(server: Server, path: Path) -> None:
    server.content = b"other bytes"
    with pytest.raises(DownloadError, match=f"wrong sha256 {hashlib.sha256(b'other bytes').hexdigest()}"):
        fetch(server.url, path, SHA256)
    assert list(path.parent.iterdir()) == []


def test_without_a_network_there_is_one_line_and_what_was_there_stays(path: Path) -> None:
    for part in (b"", CONTENT[:1000]):
        path.parent.mkdir(exist_ok=True)
        if part:
            part_of(path).write_bytes(part)
        with pytest.raises(DownloadError, match=r"cannot download: .*refused") as error:
            fetch("http://127.0.0.1:9/file.pth", path, SHA256)
        assert "\n" not in str(error.value)
        assert ("1,000 bytes are kept" in str(error.value)) is bool(part)
        assert part_of(path).exists() is bool(part)


def test_a_folder_that_cannot_be_made_gives_one_line(tmp_path: Path, server: Server) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="cannot download") as error:
        fetch(server.url, tmp_path / "file" / "file.pth", SHA256)
    assert "\n" not in str(error.value)


def test_several_at_once_do_no_harm(server: Server, path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(fetch, server.url, path, SHA256) for _ in range(8)]:
            done.result(timeout=60)
    assert only(path)
    assert server.asked == [None]
