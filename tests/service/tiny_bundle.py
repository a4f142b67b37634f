"""Writes a real bundle without training: a small Transformer of seeded random weights, and a subword model.

    python tiny_bundle.py DESTINATION END_BIAS

A script of its own, because CTranslate2's `specs` import torch where they find it, and the service's tests must not.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.modules["torch"] = None  # type: ignore[assignment]

import ctranslate2  # noqa: E402 (torch is hidden first)
import numpy as np  # noqa: E402
import sentencepiece  # noqa: E402

from mtkd.bundle import MANIFEST, SUBWORD_MODEL, Manifest, describe_files  # noqa: E402

WIDTH, HEADS, POSITIONS = 16, 2, 64
MAX_SOURCE, MAX_TARGET = 24, 32
RESERVED = [*(f"<ph{i}>" for i in range(32)), "<dom:office>", *(f"<spare{i}>" for i in range(16))]
LINES = [
    "The printer is on the second floor, next to the kitchen.",
    "Der Drucker steht im zweiten Stock, neben der Teeküche.",
    "Please switch the light off before you leave the house.",
    "Bitte schalten Sie das Licht aus, bevor Sie gehen.",
]


def write_bundle(root: Path, end_bias: float) -> None:
    """A bundle; `end_bias` is added to the logit of the end of sentence: a low one makes translations endless."""
    root.mkdir(parents=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_prefix=str(root / "sentencepiece"),
        vocab_size=375,
        normalization_rule_name="identity",
        byte_fallback=True,
        user_defined_symbols=RESERVED,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (root / "sentencepiece.vocab").unlink()
    subwords = sentencepiece.SentencePieceProcessor(model_file=str(root / SUBWORD_MODEL))
    pieces = [subwords.id_to_piece(index) for index in range(3, subwords.get_piece_size())]
    vocabulary = ["<s>", "<blank>", "</s>", "<unk>", *pieces]
    for compute_type in ("float32", "int8"):
        spec = _random_transformer(vocabulary, end_bias)
        spec.validate()
        spec.optimize(quantization=None if compute_type == "float32" else compute_type)
        (root / compute_type).mkdir()
        spec.save(str(root / compute_type))
    manifest = Manifest(
        name="tiny",
        source_lang="en",
        target_lang="de",
        domains=["office"],
        vocabulary="0" * 16,
        parameters=1,
        beam=2,
        length_penalty=1.0,
        max_source_positions=MAX_SOURCE,
        max_target_positions=MAX_TARGET,
        files=describe_files(root),
    )
    (root / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


def _random_transformer(vocabulary: list[str], end_bias: float) -> ctranslate2.specs.TransformerSpec:
    rng = np.random.default_rng(7)

    def linear(spec: Any, rows: int, columns: int) -> None:
        spec.weight = rng.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)
        spec.bias = np.zeros(rows, np.float32)

    def norm(spec: Any) -> None:
        spec.gamma, spec.beta = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)

    def attention(spec: Any, sizes: list[int]) -> None:
        norm(spec.layer_norm)
        for part, size in zip(spec.linear, sizes, strict=True):
            linear(part, size * WIDTH, WIDTH)

    spec = ctranslate2.specs.TransformerSpec.from_config(1, HEADS, pre_norm=False)
    embeddings = rng.normal(0, WIDTH**-0.5, (len(vocabulary), WIDTH)).astype(np.float32)
    for side in (spec.encoder, spec.decoder):
        side.position_encodings.encodings = rng.normal(0, 1, (POSITIONS, WIDTH)).astype(np.float32)
        layer = side.layer[0]
        attention(layer.self_attention, [3, 1])
        norm(layer.ffn.layer_norm)
        linear(layer.ffn.linear_0, 2 * WIDTH, WIDTH)
        linear(layer.ffn.linear_1, WIDTH, 2 * WIDTH)
    attention(spec.decoder.layer[0].attention, [1, 2, 1])
    spec.encoder.embeddings[0].weight = embeddings
    spec.decoder.embeddings.weight = embeddings
    linear(spec.decoder.projection, len(vocabulary), WIDTH)
    spec.decoder.projection.bias[vocabulary.index("</s>")] = end_bias
    spec.register_source_vocabulary(vocabulary)
    spec.register_target_vocabulary(vocabulary)
    # As CTranslate2's own converter sets them for fairseq.
    spec.config.decoder_start_token = spec.config.eos_token
    spec.config.add_source_eos = True
    return spec


if __name__ == "__main__":
    write_bundle(Path(sys.argv[1]), float(sys.argv[2]))
