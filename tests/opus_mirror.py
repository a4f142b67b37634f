"""A small server on this machine with the folders and archives that OPUS has.

What it owns: the layout, and a server that can be told to misbehave. What it must not know: how mtkd
fetches, but for the index that it looks names up in.
"""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from mtkd.corpus.opus import look_up

LICENSE = "The data set comes with the same license\nas the original sources.\n"


def address(corpus: str, release: str, pair: str) -> str:
    """Where OPUS keeps a pair, from its server's root."""
    return f"/OPUS-{corpus}/{release}/moses/{pair}.txt.zip"


def add_archive(root: Path, corpus: str, release: str, pair: str, sides: tuple[list[str], list[str]]) -> Path:
    """Put an archive below `root` as OPUS makes them; `sides` are the lines in the languages of `pair`."""
    path = root / address(corpus, release, pair).lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for language, lines in zip(pair.split("-"), sides, strict=True):
            archive.writestr(f"{corpus}.{pair}.{language}", "".join(f"{line}\n" for line in lines))
        archive.writestr(f"{corpus}.{pair}.xml", "<cesAlign/>\n")
        archive.writestr("README", f" Corpus Name: {corpus}\n     Release: {release}\n")
        archive.writestr("LICENSE", LICENSE)
    return path


@contextmanager
def unpacked_index(folder: Path) -> Iterator[Path]:
    """opustools' index in a folder, which takes a second; removed again, since pytest would keep 0.1 GiB a test."""
    look_up("EMEA@v3/de-en", folder)
    try:
        yield folder
    finally:
        for file in folder.glob("*.db"):
            file.unlink()


@contextmanager
def linked_index(index: Path, folder: Path) -> Iterator[Path]:
    """The index of another folder in this one as well, without a copy."""
    folder.mkdir(parents=True)
    for file in index.iterdir():
        (folder / file.name).hardlink_to(file)
    with unpacked_index(folder):
        yield folder


class Mirror:
    """The server: where it is, what it was asked for, and how it is to misbehave."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = ""
        self.requests: list[tuple[str, str | None]] = []
        """Path and Range header of every request."""
        self.break_off_after: list[int] = []
        """The next answers stop after so many bytes, first come first served."""
        self.released = threading.Event()
        """Answers that stop early hold their connection until this is set."""
        self.released.set()
        self.knows_ranges = True

    @contextmanager
    def running(self) -> Iterator[Mirror]:
        """Serve on a free port of this machine."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            self.released.set()
            server.shutdown()
            server.server_close()
            thread.join()


def _handler(mirror: Mirror) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            mirror.requests.append((self.path, wanted))
            file = mirror.root / self.path.lstrip("/")
            if not file.is_file():
                self.send_error(404)
                return
            body = file.read_bytes()
            begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and mirror.knows_ranges else 0
            if begin and begin >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if begin else 200)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - begin))
            self.end_headers()
            limit = mirror.break_off_after.pop(0) if mirror.break_off_after else len(body)
            self.wfile.write(body[begin : begin + limit])
            self.wfile.flush()
            self.close_connection = True
            mirror.released.wait(60)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
