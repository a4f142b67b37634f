"""A finished run in no time: every step done, of its files only those that `mtkd bench serve` reads."""

from __future__ import annotations

import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

from mtkd.pipeline import open_workspace
from mtkd.recipe_file import load_recipe, resolved
from mtkd.workspace import Workspace, write_json
from tests.unit.workflow_recipe import write_recipe

ROOT = Path(__file__).parents[2]
SMALL = {"layers": 1, "embed_dim": 16, "ffn_embed_dim": 32, "attention_heads": 2}
SENTENCES = {
    "it": ["Turn the printer on.", "The house is dark.", "Please leave."],
    "religion": ["The light is good.", "Before the house was the light.", "On the second day you leave."],
}


def write_run(folder: Path) -> Workspace:
    """A workspace whose bundle translates, badly; the checkpoint is not there."""
    recipe = load_recipe(write_recipe(folder, rows=5))
    place = open_workspace(recipe, folder / "run")
    for name in place.plan.nodes:
        place.begin(name)
        if name == "split":
            for domain, lines in SENTENCES.items():
                text = place.dir(name) / domain / "test.en"
                text.parent.mkdir()
                text.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
                for lang in ("en", "de"):
                    shutil.copyfile(text, text.with_name(f"dev.{lang}"))
        if name == "export":
            script = ROOT / "tests" / "service" / "tiny_bundle.py"
            subprocess.run([sys.executable, str(script), str(place.dir(name) / "bundle"), "3.0"], check=True, cwd=ROOT)
        place.finish(name)
    write_json(place.private / "recipe.json", resolved(recipe))
    return place


def add_checkpoint(place: Workspace) -> None:
    """A fairseq Transformer of random weights as generic model and as student, for the bundle's subword model."""
    from fairseq.data import Dictionary
    from fairseq.models.transformer import TransformerModel
    from fairseq.models.transformer.transformer_legacy import base_architecture
    from sentencepiece import SentencePieceProcessor

    from mtkd import checkpoint
    from mtkd.fairseq_model import to_stock

    subword_model = place.dir("export") / "bundle" / "sentencepiece.model"
    subwords = SentencePieceProcessor(model_file=str(subword_model))
    shutil.copy(subword_model, place.dir("subword"))
    dictionary = place.dir("subword") / "dict.txt"
    pieces = (subwords.id_to_piece(index) for index in range(3, subwords.get_piece_size()))
    dictionary.write_text("".join(f"{piece} 1\n" for piece in pieces), encoding="utf-8")
    symbols = Dictionary.load(str(dictionary))
    sizes = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in SMALL.items()}
    shape = Namespace(arch="transformer", share_all_embeddings=True, max_target_positions=1024, **sizes)
    base_architecture(shape)
    task = Namespace(source_dictionary=symbols, target_dictionary=symbols)
    model = TransformerModel.build_model(shape, task)
    untrained = place.dir("generic") / "model.pt"
    checkpoint.write({"args": shape, "cfg": None, "model": model.state_dict()}, untrained)
    to_stock(untrained, place.dir("decode.student") / "student.pt", source_lang="en", target_lang="de")
