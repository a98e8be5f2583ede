"""One file from the network: goes on where it was broken off, and is there whole and checked, or not at all."""

import fcntl
import hashlib
import os
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException
from io import BufferedRandom
from pathlib import Path
from urllib.error import HTTPError

from d2it.errors import UserError
from d2it.progress import Progress

TIMEOUT_SECONDS = 30.0  # without a byte
CHUNK_BYTES = 1 << 20


class DownloadError(UserError):
    """A file that cannot be downloaded; the message gives the address and the reason."""


def part_of(path: Path) -> Path:
    """Where the bytes of `path` are kept until it is whole."""
    return path.with_name(f"{path.name}.part")


def fetch(url: str, path: Path, sha256: str) -> None:
    """Download a file, whose folder is made if need be.

    A download that is broken off leaves its `part_of(path)`, from which the next one goes on. Where another process
    downloads the same file, this one waits for it.

    Raises:
        DownloadError: no network, another sha256, or a folder that cannot be written to.
    """
    part = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part) as file:
            if not path.exists():  # else another process has brought it meanwhile
                _complete(file, url, sha256)
                part.replace(path)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        kept = f" ({part.stat().st_size:,} bytes are kept for the next try)" if part.exists() else ""
        raise DownloadError(f"{url}: cannot download: {reason}{kept}") from None


def _complete(file: BufferedRandom, url: str, sha256: str) -> None:
    """Append what the partial file lacks; if it then is wrong, but was not fetched in one go, fetch it anew."""
    while True:
        resumed = _append(file, url)
        file.seek(0)
        actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual == sha256:
            return
        file.truncate(0)
        if not resumed:
            raise DownloadError(f"{url}: wrong sha256 {actual}")


def _append(file: BufferedRandom, url: str) -> bool:
    """Download what the partial file lacks; whether it held a part of the whole before.

    Raises:
        OSError, HTTPException: the connection cannot be made, or ends early.
    """
    done = file.seek(0, os.SEEK_END)
    headers = {"User-Agent": "d2it"} | ({"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except HTTPError as error:
        if done and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # there is no more than that
            return True
        raise
    with response:
        if getattr(response, "status", None) != HTTPStatus.PARTIAL_CONTENT:  # the whole, asked for or not
            file.truncate(0)
            done = 0
        resumed = done > 0
        total = done + int(response.headers.get("Content-Length") or 0)
        with Progress(total >> 20, url.rpartition("/")[2], unit="MiB", start=done >> 20) as progress:
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                progress.update((done + len(chunk) >> 20) - (done >> 20))
                done += len(chunk)
    file.flush()
    if done < total:
        raise ConnectionError(f"the connection ended after {done:,} of {total:,} bytes")
    return resumed


@contextmanager
def _alone(part: Path) -> Iterator[BufferedRandom]:
    """The partial file, for this process alone as long as it lasts; one without a byte is not left behind."""
    while True:
        with part.open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"{part.stem}: another process downloads it: waiting", file=sys.stderr, flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_open(part, file):  # the process that had it has renamed or removed it
                continue
            try:
                yield file
            finally:
                if os.fstat(file.fileno()).st_size == 0:
                    part.unlink(missing_ok=True)
            return


def _is_open(path: Path, file: BufferedRandom) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
