"""The real apt-get, pip and npm, against mirrors that the tests make: what is fetched, and what is said if not."""

from __future__ import annotations

import base64
import hashlib
import json
import lzma
import os
import shutil
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

from mtkd.corpus.archives import members
from mtkd.corpus.fetchers import FETCHERS, LISTS_AGE_S
from mtkd.errors import CorpusError
from mtkd.recipe_text import Corpus
from tests.unit.made_archives import deb, tar, tgz, wheel

needs_apt = pytest.mark.skipif(shutil.which("apt-get") is None, reason="2026-11-21: apt-get is not installed here")
needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="2026-11-21: npm is not installed here")
needs_pip = pytest.mark.skipif(find_spec("pip") is None, reason="2026-11-21: this Python has no pip")


def refusal(spec: str, folder: Path) -> str:
    kind, _, name = spec.partition(":")
    with pytest.raises(CorpusError) as caught:
        FETCHERS[kind](name, folder)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{spec}: ")
    return str(caught.value)


class AptMirror:
    """A folder that apt takes for a repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.index = ""
        self.add("manual-de", "1.0-1")

    def add(self, name: str, version: str) -> None:
        content = deb(("data.tar.xz", lzma.compress(tar((f"./usr/share/doc/{name}.html", version.encode())))))
        file = self.folder / f"{name}_{version}_all.deb"
        file.write_bytes(content)
        self.index += (
            f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: A <a@example.org>\n"
            f"Filename: ./{file.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
            f"Description: text\n\n"
        )
        (self.folder / "Packages").write_text(self.index)


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AptMirror:
    mirror = AptMirror(tmp_path / "apt mirror")
    (tmp_path / "no more sources").mkdir()
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{str(mirror.folder).replace(' ', '%20')} ./\n")
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{tmp_path / "sources.list"}";\n'
        f'Acquire::Retries "0";\nDir::Etc::sourceparts "{tmp_path / "no more sources"}";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    return mirror


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, one of them for a Python that is yet to come."""
    mirror = tmp_path / "pip mirror"
    mirror.mkdir()
    about = b"Metadata-Version: 2.1\nName: health-icd10\nVersion: 5.0.4\n"
    about += b"Requires-Python: >=3.99\nRequires-Dist: none-such\n"
    info = "health_icd10-5.0.4.dist-info"
    files = {
        "health_icd10/locale/de.po": b'msgid "one"\nmsgstr "eins"\n',
        f"{info}/METADATA": about,
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    (mirror / "health_icd10-5.0.4-py3-none-any.whl").write_bytes(wheel(*files.items()))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", mirror.as_uri())
    return mirror


class Registry(SimpleHTTPRequestHandler):
    """Files by their path; what is said is not logged."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a registry with one package in a scope."""
    mirror = tmp_path / "npm mirror"
    (mirror / "@verses").mkdir(parents=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Registry, directory=str(mirror)))
    address = f"http://127.0.0.1:{server.server_port}/"
    content = tgz(("package/package.json", b'{"name": "@verses/de", "version": "0.5.1"}'), ("package/a.json", b"{}"))
    (mirror / "de-0.5.1.tgz").write_bytes(content)
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    dist = {"tarball": f"{address}de-0.5.1.tgz", "integrity": integrity}
    version = {"name": "@verses/de", "version": "0.5.1", "dist": dist}
    package = {"name": "@verses/de", "dist-tags": {"latest": "0.5.1"}, "versions": {"0.5.1": version}}
    (mirror / "@verses" / "de").write_text(json.dumps(package))
    (tmp_path / "npmrc").touch()
    monkeypatch.setenv("npm_config_userconfig", str(tmp_path / "npmrc"))
    monkeypatch.setenv("npm_config_registry", address)
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    for proxy in ("http_proxy", "HTTP_PROXY", "npm_config_proxy"):
        monkeypatch.delenv(proxy, raising=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield address
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("kind", FETCHERS)
def test_every_fetcher_can_be_named_in_a_recipe(kind: str) -> None:
    assert Corpus(archives=[f"{kind}:name"], path=Path("a.tsv"), licence="CC0-1.0").archives == [f"{kind}:name"]


@needs_apt
def test_apt_fetches_by_name_and_by_version(tmp_path: Path, apt: AptMirror) -> None:
    apt.add("manual-de", "1:1.1-1")
    newest = FETCHERS["deb"]("manual-de", tmp_path / "out")
    assert [(member.name, member.file.read()) for member in members(newest)] == [
        ("usr/share/doc/manual-de.html", b"1:1.1-1")
    ]
    assert FETCHERS["deb"]("manual-de=1.0-1", tmp_path / "out").name == "manual-de_1.0-1_all.deb"
    assert newest.exists()


@needs_apt
def test_apt_asks_for_new_lists_when_its_own_are_old_or_do_not_do(tmp_path: Path, apt: AptMirror) -> None:
    out = tmp_path / "out"
    FETCHERS["deb"]("manual-de", out)
    apt.add("manual-de", "1.1-1")
    assert FETCHERS["deb"]("manual-de", out).name == "manual-de_1.0-1_all.deb", "lists of today are not updated"
    apt.add("manual-en", "1.0-1")
    assert FETCHERS["deb"]("manual-en", out).name == "manual-en_1.0-1_all.deb", "lists without the package are"
    apt.add("manual-de", "1.2-1")
    long_ago = time.time() - LISTS_AGE_S - 60
    os.utime(out / "apt" / "updated", (long_ago, long_ago))
    assert FETCHERS["deb"]("manual-de", out).name == "manual-de_1.2-1_all.deb"


@needs_apt
def test_apt_says_what_it_does_not_have(tmp_path: Path, apt: AptMirror) -> None:
    assert "Unable to locate package manual-fr" in refusal("deb:manual-fr", tmp_path / "out")
    assert "check the package's name and version" in refusal("deb:manual-de=9.9", tmp_path / "out")
    assert "not one" in refusal("deb:manual.de", tmp_path / "out"), "apt reads a dot as a regular expression"


@needs_apt
def test_apt_says_that_there_is_no_network(tmp_path: Path, apt: AptMirror) -> None:
    (tmp_path / "sources.list").write_text("deb [trusted=yes] http://127.0.0.1:9/ ./\n")
    assert "no network, or the mirror does not answer" in refusal("deb:manual-de", tmp_path / "out")


@needs_pip
def test_pip_fetches_a_wheel_alone_and_for_any_python(tmp_path: Path, pip: Path) -> None:
    for name in ("health-icd10", "health-icd10==5.0.4"):
        path = FETCHERS["wheel"](name, tmp_path / "out")
        assert path.read_bytes() == (pip / path.name).read_bytes()
    assert [path.name for path in (tmp_path / "out").glob("*.whl")] == ["health_icd10-5.0.4-py3-none-any.whl"]


@needs_pip
def test_pip_says_what_it_does_not_have(tmp_path: Path, pip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal("wheel:health-icd10==9", tmp_path / "out")
    assert "from versions: 5.0.4" in said
    assert "check the package's name and version" in said
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    assert "no network" in refusal("wheel:nowhere", tmp_path / "out")


@needs_npm
def test_npm_fetches_from_a_scope(tmp_path: Path, npm: str) -> None:
    for name in ("@verses/de", "@verses/de@0.5.1"):
        path = FETCHERS["npm"](name, tmp_path / "out")
        assert [member.name for member in members(path)] == ["package/package.json", "package/a.json"]
    assert path.name == "verses-de-0.5.1.tgz"


@needs_npm
def test_npm_says_what_it_does_not_have(tmp_path: Path, npm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No matching version found for @verses/de@9.9.9" in refusal("npm:@verses/de@9.9.9", tmp_path / "out")
    assert "check the package's name and version" in refusal("npm:verses-fr", tmp_path / "out")
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    assert "no network" in refusal("npm:verses-fr", tmp_path / "out")


@needs_npm
def test_npm_notices_a_package_that_was_tampered_with(tmp_path: Path, npm: str) -> None:
    (tmp_path / "npm mirror" / "de-0.5.1.tgz").write_bytes(tgz(("package/a.json", b"evil")))
    assert "npm cannot fetch it" in refusal("npm:@verses/de", tmp_path / "out")


@pytest.mark.parametrize("kind", ["deb", "npm"])
def test_a_missing_tool_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = refusal(f"{kind}:manual-de", tmp_path / "out")
    assert {"deb": "apt-get", "npm": "npm"}[kind] + ", which is not installed" in said


@pytest.mark.parametrize(
    "spec",
    [
        "deb:-o=Dpkg::X",
        "deb:../evil",
        "deb:manual=",
        "deb:manual=-1",
        "deb:Manual",
        "deb:a b",
        "deb:a\n",
        "wheel:--index-url=x",
        "wheel:./x.whl",
        "wheel:x@https://example.org/x.whl",
        "wheel:x>=1",
        "wheel:x==1;y",
        "wheel:x[extra]",
        "npm:--foo",
        "npm:./x",
        "npm:git+ssh://x",
        "npm:x/y",
        "npm:@../x",
        "npm:x@^1.0.0",
        "npm:x@1",
        "npm:x@file:..",
    ],
)
def test_a_name_that_is_none_never_gets_to_a_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    monkeypatch.setenv("PATH", "")
    kind, _, name = spec.partition(":")
    with pytest.raises(CorpusError, match="not a name this registry can have"):
        FETCHERS[kind](name, tmp_path / "out")
    assert not (tmp_path / "out").exists()
