"""A published model is read from the Hub by its name: here from a server of this test."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from d2it.use.command import main
from d2it.use.hub import is_hub_name
from tests.smallest import Repository
from tools.deps import ROOT

NAME, COMMIT = "lab/emoji", "0123456789abcdef0123456789abcdef01234567"
SCRIPT = f"""
import d2it
model = d2it.load({NAME!r}, "cpu")
print(model.image_size.height, len(model.sample(classes=[1], seeds=[0], steps=1, progress=False).images))
"""


@contextmanager
def hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Address of a server that has `folder` as the one model, and the files that were asked for."""
    asked: list[str] = []
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            if path.startswith(f"/api/models/{NAME}/revision/"):
                siblings = [{"rfilename": name} for name in files]
                self.send(json.dumps({"id": NAME, "sha": COMMIT, "siblings": siblings}).encode(), body=body)
                return
            if path == f"/api/models/{NAME}/tree/{COMMIT}":
                tree = [{"type": "file", "path": name, "size": len(x), "oid": COMMIT} for name, x in files.items()]
                self.send(json.dumps(tree).encode(), body=body)
                return
            name = path.removeprefix(f"/{NAME}/resolve/{COMMIT}/")
            if name not in files:
                self.send_error(404)
                return
            if body:
                asked.append(name)
            self.send(files[name], body=body)

        def send(self, content: bytes, *, body: bool) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()


def load(address: str, home: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own: huggingface_hub reads its environment when it is imported."""
    environment = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(home), "PYTHONPATH": str(ROOT)}
    environment.pop("HF_HUB_OFFLINE", None)
    return subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, cwd=home, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_a_published_model_is_read_by_its_name_and_then_without_a_network(finished: Repository, tmp_path: Path) -> None:
    assert main(["export", str(finished.folder / "outputs"), str(tmp_path / "published")]) == 0
    (tmp_path / "published" / "extra.bin").write_bytes(b"a pickle, who knows")
    home = tmp_path / "home"
    home.mkdir()
    with hub(tmp_path / "published") as (address, asked):
        done = load(address, home)
    assert done.stdout == "32 1\n", done.stderr
    assert {Path(name).suffix for name in asked} == {".safetensors", ".json", ".yaml"}
    assert load(address, home).stdout == "32 1\n"  # the server is gone


@pytest.mark.slow
def test_a_name_that_the_hub_does_not_have_is_one_line(tmp_path: Path) -> None:
    with hub(tmp_path) as (address, _):
        done = load(address.replace("127.0.0.1", "localhost") + "/nothing", tmp_path)
    assert done.stderr.splitlines()[-1].startswith(f"d2it.use.hub.HubError: {NAME}: no such folder, and not to be had")


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("lab/emoji", True), ("outputs", False), ("/models/emoji", False), ("a/b/c", False), ("./outputs", False)],
)
def test_a_path_is_no_name(name: str, is_one: bool) -> None:
    assert is_hub_name(name) == is_one


def test_a_folder_here_comes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab" / "emoji").mkdir(parents=True)
    assert not is_hub_name(NAME)
