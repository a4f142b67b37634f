"""`python -m mtkd.bench.serve_handler SETTINGS --port PORT`: what a user would write first to serve a fairseq model.

What it owns: fairseq's own `from_pretrained` and `translate` behind a FastAPI handler, one text a request, in float32,
a lock around the model. What it must not know: our service, which `mtkd bench serve` compares it with.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fairseq.models.transformer import TransformerModel
from fastapi import FastAPI
from pydantic import BaseModel


class Sentence(BaseModel):
    """What is asked."""

    text: str


def create_app(model: Any, *, beam: int, length_penalty: float) -> FastAPI:
    """An app around what fairseq's `from_pretrained` returns."""
    app, lock = FastAPI(), threading.Lock()

    @app.get("/ready")
    def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/translate")
    def translate(sentence: Sentence) -> dict[str, str]:
        with lock, torch.inference_mode():
            return {"translation": model.translate(sentence.text, beam=beam, lenpen=length_penalty)}

    return app


def load(checkpoint: Path, dictionary: Path, subword_model: Path, source_lang: str, target_lang: str) -> Any:
    """A stock checkpoint as fairseq's hub interface."""
    torch.serialization.add_safe_globals([argparse.Namespace])
    with tempfile.TemporaryDirectory(prefix="mtkd-bench-") as data:
        for lang in (source_lang, target_lang):
            shutil.copyfile(dictionary, Path(data) / f"dict.{lang}.txt")
        return TransformerModel.from_pretrained(
            str(checkpoint.parent),
            checkpoint_file=checkpoint.name,
            data_name_or_path=data,
            bpe="sentencepiece",
            sentencepiece_model=str(subword_model),
        ).eval()


def main() -> None:
    """Serve until the end."""
    settings, port = json.loads(sys.argv[1]), int(sys.argv[3])
    checkpoint, dictionary, subword_model = (
        Path(settings[name]) for name in ("checkpoint", "dictionary", "subword_model")
    )
    model = load(checkpoint, dictionary, subword_model, settings["source_lang"], settings["target_lang"])
    app = create_app(model, beam=settings["beam"], length_penalty=settings["length_penalty"])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
