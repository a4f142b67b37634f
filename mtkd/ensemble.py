"""Translation by several models at once: the uniform ensemble of teachers that one student is to replace.

What it owns: beam search over the mean of several models' probabilities. What it must not know: recipes, scores, which
models make a system. Why fairseq's generator: CTranslate2 runs one model. Why the search is otherwise as in
`decoding.py`: the systems of one table should differ in their models only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from fairseq.data import Dictionary
from fairseq.sequence_generator import EnsembleModel, SequenceGenerator
from torch.nn.utils.rnn import pad_sequence

from mtkd import fairseq_model
from mtkd.decoding import CHUNK, EXTRA_PIECES, MAX_PIECES, TOKENS_PER_BATCH, Beam, texts
from mtkd.export import Vocabulary


def translate_with_ensemble(
    checkpoints: Sequence[Path],
    vocabulary: Vocabulary,
    sources: Sequence[str],
    beam: Beam,
    *,
    threads: int,
    progress: Callable[[int, int], None],
) -> list[str]:
    """The best hypothesis of each source under the uniform ensemble of these models, as text.

    At each step the models' probabilities are averaged, p(y) = 1/n sum_j p_j(y), not their logarithms: fairseq's
    `EnsembleModel` takes log-sum-exp of the n log-probabilities less log n. All models are held in memory, in float32.
    With one model the result is what `decoding.Decoder` finds, but for rounding and for models that would rather say
    nothing: both forbid an empty translation, only CTranslate2 makes the other first pieces likelier for it.
    `progress` is told how many sources are done, and of how many; an empty one is done from the start.

    Raises:
        CheckpointError: as `fairseq_model.load_model`: missing, broken, unsafe to read, or of another vocabulary.
    """
    assert checkpoints, "an ensemble of no models"
    dictionary = Dictionary.load(str(vocabulary.dictionary))
    subword = sentencepiece.SentencePieceProcessor(model_file=str(vocabulary.subword_model))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ensemble = EnsembleModel(
        [
            fairseq_model.load_model(path, dictionary, vocabulary.source_lang, vocabulary.target_lang).to(device)
            for path in checkpoints
        ]
    )
    ids = [
        torch.tensor([*map(dictionary.index, pieces[: MAX_PIECES - 1]), dictionary.eos()])
        for pieces in subword.encode(list(sources), out_type=str)
    ]
    lengths = [len(line) - 1 for line in ids]
    found, done = [""] * len(sources), lengths.count(0)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for batch in _batches(lengths):
            padded = pad_sequence([ids[line] for line in batch], batch_first=True, padding_value=dictionary.pad())
            hypotheses = _search(ensemble, dictionary, padded.to(device), beam)
            found_pieces = [[dictionary[piece] for piece in pieces] for pieces in hypotheses]
            for line, text in zip(batch, texts(subword, found_pieces), strict=True):
                found[line] = text
            done += len(batch)
            progress(done, len(sources))
    finally:
        torch.set_num_threads(threads_before)
    return found


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Lines that are not empty, shortest first: CHUNK together, fewer if these hold over TOKENS_PER_BATCH pieces."""
    batch: list[int] = []
    for line in sorted(filter(lengths.__getitem__, range(len(lengths))), key=lengths.__getitem__):
        if len(batch) == CHUNK or (batch and (len(batch) + 1) * lengths[line] > TOKENS_PER_BATCH):
            yield batch
            batch = []
        batch.append(line)
    if batch:
        yield batch


def _search(ensemble: Any, dictionary: Dictionary, source_ids: torch.Tensor, beam: Beam) -> list[list[int]]:
    """The pieces of each source's best hypothesis; `source_ids` [lines, longest + 1] end in EOS, then padding.

    As in CTranslate2 a hypothesis scores log-probability / length^length_penalty, EOS counted in both; one that the
    limit ended has no EOS, so the one that fairseq forces upon it is left out of its score.
    """
    longest = source_ids.size(1) - 1
    limit = min(MAX_PIECES, 2 * longest + EXTRA_PIECES)  # fairseq itself stops where a model's positions end
    generator = SequenceGenerator(ensemble, dictionary, beam_size=beam.size, max_len_b=limit, normalize_scores=False)
    lengths = source_ids.ne(dictionary.pad()).sum(1)
    found = generator({"net_input": {"src_tokens": source_ids, "src_lengths": lengths}})

    def score(hypothesis: dict[str, torch.Tensor]) -> float:
        steps = hypothesis["positional_scores"][:limit]
        return float(steps.sum()) / float(len(steps) ** beam.length_penalty)

    return [max(hypotheses, key=score)["tokens"][:-1].tolist() for hypotheses in found]
