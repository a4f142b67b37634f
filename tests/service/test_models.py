"""What a model must show before it serves, and the swap of one for another."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from mtkd.bundle import MANIFEST, ModelBundle, describe_files
from mtkd.errors import BundleError
from service.deps import Worker
from service.engines import ENGINES
from service.engines.base import Hypothesis
from service.engines.echo import EchoEngine
from service.models import Models, check, loader
from service.settings import Settings

SETTINGS = Settings(threads=1, cache_chars=0)


class Named(EchoEngine):
    def __init__(self, digest: str, answer: str = "{}", target_lang: str = "de") -> None:
        super().__init__(target_lang=target_lang)
        self.digest = digest
        self.answer = answer

    def translate(self, segments, decoding):
        return [[Hypothesis(self.answer.format(segment), 0.0, truncated=False)] for segment in segments]


def another_bundle(bundle_dir: Path, root: Path, *, target_lang: str = "de", altered: bool = False) -> Path:
    """The tiny bundle with another digest."""
    shutil.copytree(bundle_dir, root)
    (root / "note.txt").write_text("another", encoding="utf-8")
    manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    manifest |= {"files": describe_files(root), "target_lang": target_lang}
    (root / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    if altered:
        (root / "note.txt").write_text("altered", encoding="utf-8")
    return root


def test_a_model_that_says_nothing_is_refused():
    with pytest.raises(BundleError, match="mute translates a test sentence to nothing"):
        check(Named("mute", " "))


def test_a_new_bundle_is_loaded_and_serves_from_then_on(bundle_dir, tmp_path):
    worker = Worker(ENGINES["ctranslate2"](ModelBundle.open(bundle_dir), SETTINGS), SETTINGS)
    before = worker.engine.digest
    new = another_bundle(bundle_dir, tmp_path / "new")

    async def scenario():
        (first,) = await worker.translate_full(["The printer"])
        assert await worker.swap(new)
        (second,) = await worker.translate_full(["The printer"])
        assert not await worker.swap(new), "it serves already"
        return first, second

    first, second = asyncio.run(scenario())
    assert first.digest == before != second.digest == worker.engine.digest
    assert first.text == second.text


@pytest.mark.parametrize(
    ("change", "message"),
    [({"altered": True}, "note.txt was altered"), ({"target_lang": "fr"}, "translates en-fr, this server en-de")],
)
def test_a_bundle_that_cannot_serve_leaves_the_old_one_serving(bundle_dir, tmp_path, change, message):
    engine = EchoEngine()
    models = Models(engine, loader("ctranslate2", SETTINGS))
    with pytest.raises(BundleError, match=message):
        asyncio.run(models.swap(another_bundle(bundle_dir, tmp_path / "new", **change)))
    assert models.current is engine


def test_under_load_no_request_fails_and_each_has_one_model():
    engines = {"a": Named("a", "{} A"), "b": Named("b", "{} B")}
    worker = Worker(engines["a"], SETTINGS)
    worker.models._load = lambda bundle: engines[bundle.name]

    async def scenario():
        async def client(number: int):
            answers = []
            for turn in range(30):
                answers += await worker.translate_full([f"one {number} {turn}. Two. Three."])
            return answers

        clients = [asyncio.create_task(client(number)) for number in range(8)]
        await asyncio.sleep(0.02)
        assert await worker.swap(Path("b"))
        return [answer for answers in await asyncio.gather(*clients) for answer in answers]

    answers = asyncio.run(scenario())
    assert len(answers) == 240
    assert {answer.digest for answer in answers} == {"a", "b"}
    for answer in answers:
        assert {segment.translation[-1] for segment in answer.segments} == {answer.digest.upper()}


def test_each_bundle_brings_its_own_beam_and_manifest(bundle_dir, tmp_path):
    new = another_bundle(bundle_dir, tmp_path / "new")
    manifest = json.loads((new / MANIFEST).read_text(encoding="utf-8"))
    (new / MANIFEST).write_text(json.dumps(manifest | {"beam": 7, "name": "new"}), encoding="utf-8")
    load = loader("ctranslate2", SETTINGS)
    assert [(engine.decoding.beam, engine.manifest.name) for engine in map(load, (bundle_dir, new))] == [
        (2, "tiny"),
        (7, "new"),
    ]
    assert loader("ctranslate2", Settings(threads=1, beam=3))(new).decoding.beam == 3
