"""`python -m mtkd.bench.serve_offline SETTINGS`: the served model without a service.

What it owns: the measurements that need no server. What it must not know: HTTP.
What is raw: one call of CTranslate2's `translate_batch` between SentencePiece's encoding and decoding, with the
service's settings, as whoever has all sentences beforehand would write it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import ctranslate2
from sentencepiece import SentencePieceProcessor

from mtkd.bench.alternate import Message
from mtkd.bench.serve_turns import take_turns
from mtkd.bundle import ModelBundle
from service.engines import ENGINES
from service.settings import Settings, load_settings

Translate = Callable[[Sequence[str]], list[str]]


def raw(bundle: ModelBundle, settings: Settings) -> Translate:
    """The bundle's model as a function; CTranslate2's defaults wherever the service's settings say nothing."""
    subwords = SentencePieceProcessor(model_file=str(bundle.subword_model))
    model = ctranslate2.Translator(
        str(bundle.model_dir(settings.compute_type)),
        device=settings.device,
        compute_type=settings.compute_type,
        inter_threads=settings.workers,
        intra_threads=1,
    )

    def translate(sentences: Sequence[str]) -> list[str]:
        results = model.translate_batch(
            subwords.encode(list(sentences), out_type=str),
            beam_size=settings.beam or bundle.manifest.beam,
            length_penalty=bundle.manifest.length_penalty,
            max_batch_size=settings.max_batch_tokens,
            batch_type="tokens",
        )
        texts: list[str] = subwords.decode([result.hypotheses[0] for result in results])
        return texts

    return translate


def throughput(bundle: ModelBundle, settings: Settings, sentences: Sequence[str]) -> Callable[[], Message]:
    """Every sentence once, all given at once."""
    translate = raw(bundle, settings)
    translate(sentences)

    def work() -> Message:
        began = time.perf_counter()
        translate(sentences)
        return {"seconds": time.perf_counter() - began, "sentences": len(sentences), "errors": 0}

    return work


def latency(bundle: ModelBundle, settings: Settings, sentences: Sequence[str]) -> Callable[[], Message]:
    """Every sentence once, one after another."""
    translate = raw(bundle, settings)
    translate(sentences)

    def work() -> Message:
        times_ms = []
        for sentence in sentences:
            began = time.perf_counter()
            translate([sentence])
            times_ms.append(1e3 * (time.perf_counter() - began))
        return {"ms": times_ms, "errors": 0}

    return work


def invariance(bundle: ModelBundle, settings: Settings, sentences: Sequence[str]) -> Callable[[], Message]:
    """Every sentence alone and all in batches, by the service's engine: how many come out identical."""
    engine = ENGINES["ctranslate2"](bundle, settings)
    segments = [sentence for sentence in sentences if engine.fits(sentence)]

    def translate(together: Sequence[str]) -> list[str]:
        return [found[0].text for found in engine.translate(together, engine.decoding)]

    def work() -> Message:
        alone = [text for segment in segments for text in translate([segment])]
        identical = sum(one == other for one, other in zip(alone, translate(segments), strict=True))
        return {"sentences": len(segments), "identical": identical}

    return work


MEASUREMENTS: dict[str, Callable[[ModelBundle, Settings, Sequence[str]], Callable[[], Message]]] = {
    "throughput": throughput,
    "latency": latency,
    "invariance": invariance,
}
"""What can be measured, by name."""


def main() -> None:
    """Measure what the settings name."""
    given = json.loads(sys.argv[1])
    sentences = json.loads(Path(given["sentences"]).read_text(encoding="utf-8"))[: given["at_most"]]
    bundle, settings = ModelBundle.open(Path(given["bundle"])), load_settings()
    about = {"threads": settings.threads, "compute_type": settings.compute_type}
    about |= {"beam": settings.beam or bundle.manifest.beam, "max_batch_tokens": settings.max_batch_tokens}
    take_turns(lambda: (about, MEASUREMENTS[given["measurement"]](bundle, settings, sentences)))


if __name__ == "__main__":
    main()
