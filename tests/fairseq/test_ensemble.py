"""An ensemble averages probabilities, and alone a model translates as the decoder of every other system does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.sequence_generator import EnsembleModel

from mtkd import checkpoint, export, fairseq_model
from mtkd.decoding import Beam, Decoder
from mtkd.ensemble import translate_with_ensemble
from mtkd.errors import CheckpointError
from mtkd.export import Vocabulary

DOMAINS = ("bank", "river", "court")


def translate(checkpoints: list[Path], vocabulary: Vocabulary, sources: list[str], beam: Beam) -> list[str]:
    return translate_with_ensemble(
        checkpoints, vocabulary, sources, beam, threads=1, progress=lambda _done, _total: None
    )


@pytest.fixture(scope="module")
def vocabulary(micro) -> Vocabulary:
    return Vocabulary(micro.subword_model, micro.dictionary, "en", "de")


def scramble(trained: Path, scrambled: Path, seed: int) -> None:
    """A model whose translations all differ, and end: what is trained for seconds says one word, whatever it reads.

    Noise makes it heed its source; its last bias then moves towards EOS, which noise alone hardly ever chooses.
    """
    state = checkpoint.read(trained)
    state.pop("last_optimizer_state", None)
    generator = torch.Generator().manual_seed(seed)
    for name, value in state["model"].items():
        if value.dim() == 2 and name not in {"decoder.embed_tokens.weight", "decoder.output_projection.weight"}:
            value.add_(0.2 * torch.randn(value.shape, generator=generator))
    end = state["model"][checkpoint.EMBEDDING][2]
    state["model"]["decoder.layers.0.final_layer_norm.bias"].add_(5 * end / end.dot(end))
    checkpoint.write(state, scrambled)


@pytest.fixture(scope="module")
def stock(trained, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two models that differ, as `to_stock` writes them."""
    folder = tmp_path_factory.mktemp("stock")
    stock = {name: folder / f"{name}.pt" for name in ("first", "second")}
    for seed, path in enumerate(stock.values()):
        scramble(trained.checkpoint, folder / "scrambled.pt", seed)
        fairseq_model.to_stock(folder / "scrambled.pt", path, source_lang="en", target_lang="de")
    return stock


@pytest.fixture(scope="module")
def decoder(stock, vocabulary: Vocabulary, tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    folder = tmp_path_factory.mktemp("converted") / "float32"
    export.convert(stock["first"], vocabulary, folder)
    return Decoder(folder, vocabulary.subword_model, threads=1)


@pytest.fixture(scope="module")
def sources(micro) -> list[str]:
    files = [micro.split / domain / f"{side}.en" for domain in DOMAINS for side in ("dev", "test")]
    return [line for path in files for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def loaded(stock, vocabulary: Vocabulary) -> tuple[Dictionary, list]:
    """The dictionary and both models."""
    dictionary = Dictionary.load(str(vocabulary.dictionary))
    return dictionary, [fairseq_model.load_model(path, dictionary, "en", "de") for path in stock.values()]


def mean_probabilities(models: list, source_ids: list[int], target_ids: list[int]) -> torch.Tensor:
    """Shape [V]: what follows these targets, by the definition in float64."""
    inputs = torch.tensor([source_ids]), torch.tensor([len(source_ids)]), torch.tensor([target_ids])
    with torch.no_grad():
        logits = [model(*inputs)[0][0, -1].double() for model in models]
    return torch.stack([of.softmax(-1) for of in logits]).mean(0)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("copies", [1, 2])
def test_one_model_translates_as_ctranslate2_does(
    stock, vocabulary, decoder, sources, copies: int, length_penalty: float
) -> None:
    """Twice the same model is the same mean."""
    beam = Beam(4, length_penalty)
    expected = decoder.translate(sources, beam)
    found = translate([stock["first"]] * copies, vocabulary, sources, beam)
    same = sum(one == other for one, other in zip(found, expected, strict=True))
    assert same / len(sources) >= 0.95
    assert len(set(found)) > len(sources) / 4, "translations that are all alike prove nothing"


def test_some_hypotheses_end_and_others_are_cut_off_where_the_decoder_cuts_them(
    stock, vocabulary, decoder, sources
) -> None:
    hypotheses = decoder.hypotheses(sources, Beam(4, 1.0))
    cut = [line for line, hypothesis in enumerate(hypotheses) if hypothesis.cut_off]
    assert 0 < len(cut) < len(sources) / 2
    found = translate([stock["first"]], vocabulary, sources, Beam(4, 1.0))
    assert sum(found[line] == hypotheses[line].text for line in cut) >= 0.95 * len(cut)


def test_the_first_step_is_the_mean_of_probabilities(decoder, sources, loaded) -> None:
    dictionary, models = loaded
    source_ids = [*map(dictionary.index, decoder.pieces(sources)[0]), dictionary.eos()]
    expected = mean_probabilities(models, source_ids, [dictionary.eos()])
    inputs = {"src_tokens": torch.tensor([source_ids]), "src_lengths": torch.tensor([len(source_ids)])}
    ensemble = EnsembleModel(models)
    with torch.no_grad():
        encoded = ensemble.forward_encoder(inputs)
        log_p, _ = ensemble.forward_decoder(torch.tensor([[dictionary.eos()]]), encoded, [{}, {}])
    assert torch.allclose(log_p[0].double().exp(), expected, rtol=1e-4, atol=1e-7)
    alone = [mean_probabilities([model], source_ids, [dictionary.eos()]) for model in models]
    geometric = (alone[0] * alone[1]).sqrt()
    assert not torch.allclose(geometric / geometric.sum(), expected, rtol=1e-2)


def test_a_greedy_ensemble_takes_the_likeliest_piece_of_the_mean(stock, vocabulary, decoder, sources, loaded) -> None:
    """Some whole sentences, step by step in float64."""
    dictionary, models = loaded
    found = translate(list(stock.values()), vocabulary, sources[:6], Beam(1, 1.0))
    for source, text in zip(sources[:6], found, strict=True):
        source_ids = [*map(dictionary.index, decoder.pieces([source])[0]), dictionary.eos()]
        target_ids = [dictionary.eos()]
        while len(target_ids) <= 10:
            p_V = mean_probabilities(models, source_ids, target_ids)
            if len(target_ids) == 1:
                p_V[dictionary.eos()] = 0.0  # no translation is empty
            if (best := int(p_V.argmax())) == dictionary.eos():
                break
            target_ids.append(best)
        expected = decoder.subword.decode([dictionary[piece] for piece in target_ids[1:]])
        assert text.startswith(expected) if len(target_ids) > 10 else text == expected
    alone = [translate([path], vocabulary, sources[:6], Beam(1, 1.0)) for path in stock.values()]
    assert any(text not in others for text, *others in zip(found, *alone, strict=True))


def test_every_line_has_its_place_and_empty_ones_stay_empty(stock, vocabulary, sources) -> None:
    seen: list[tuple[int, int]] = []
    mixed = [sources[0], "", *sources[1:70], "monina"]
    together = translate_with_ensemble(
        [stock["first"]],
        vocabulary,
        mixed,
        Beam(2, 1.0),
        threads=1,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert (len(together), together[1]) == (len(mixed), "")
    assert together[-1] == translate([stock["first"]], vocabulary, ["monina"], Beam(2, 1.0))[0]
    assert together[5] == translate([stock["first"]], vocabulary, [mixed[5]], Beam(2, 1.0))[0]
    assert seen == sorted(seen)
    assert seen[-1] == (len(mixed), len(mixed))
    assert len(seen) == 3


def test_threads_are_as_before_afterwards(stock, vocabulary) -> None:
    before = torch.get_num_threads()
    translate_with_ensemble(
        [stock["first"]], vocabulary, ["monina"], Beam(1, 1.0), threads=before + 1, progress=lambda *_: None
    )
    assert torch.get_num_threads() == before


def test_a_broken_member_is_named(stock, vocabulary, tmp_path: Path) -> None:
    cut = tmp_path / "cut.pt"
    cut.write_bytes(stock["second"].read_bytes()[:-5000])
    with pytest.raises(CheckpointError, match=r"cut\.pt: broken or cut short"):
        translate([stock["first"], cut], vocabulary, ["monina"], Beam(1, 1.0))
