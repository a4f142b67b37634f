"""Archives as package registries serve them, made by the tests."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from mtkd.errors import CorpusError

Change = Callable[[tarfile.TarInfo], None]


def tar(*files: tuple[str, bytes], change: Change | None = None) -> bytes:
    """A tar of files; `change` is made to each one's header."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as opened:
        for name, text in files:
            info = tarfile.TarInfo(name)
            info.size = len(text)
            if change:
                change(info)
            opened.addfile(info, io.BytesIO(text))
    return content.getvalue()


def deb(*parts: tuple[str, bytes]) -> bytes:
    """An ar archive as dpkg makes one."""
    rows = [("debian-binary", b"2.0\n"), ("control.tar.xz", lzma.compress(tar())), *parts]
    return b"!<arch>\n" + b"".join(
        f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(text):<10}`\n".encode() + text + b"\n" * (len(text) % 2)
        for name, text in rows
    )


def wheel(*files: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, text in files:
            opened.writestr(name, text)
    return content.getvalue()


def tgz(*files: tuple[str, bytes]) -> bytes:
    """What npm serves."""
    return gzip.compress(tar(*files))


class Mirror:
    """A folder that stands for a registry: a file's name is an archive's, and `asked` is what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        folder.mkdir()

    def fetch(self, name: str, folder: Path) -> Path:
        self.asked.append(name)
        path = self.folder / name
        if not path.exists():
            raise CorpusError(f"wheel:{name}: no network")
        return Path(shutil.copy(path, folder))

    def add(self, name: str, **files: str) -> None:
        content = {key.replace("__", "/").replace("_", "."): text.encode() for key, text in files.items()}
        (self.folder / name).write_bytes(wheel(*content.items()))


def age(cache: Path, seconds: float) -> None:
    """Let everything in the cache be so much older."""
    for record in cache.glob("archives/*/*/archive.json"):
        then = record.stat().st_mtime - seconds
        os.utime(record, (then, then))
