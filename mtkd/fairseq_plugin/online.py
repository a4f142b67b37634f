"""Teachers that are run beside the student instead of being read from a store: `--online-teachers`.

What it owns: the teachers' weights, when they are in memory, and which rows of a batch each one reads.
What it must not know: losses; how teachers are mixed (`mtkd.distill.live`).
Why outside nn.Module: a registered teacher would enter the optimiser and every checkpoint. Why one at a time: weights
stay in the pages of their files (on a GPU's host in narrow copies) and only those of the teacher in use are held.
Shapes: B batch, R rows that a teacher reads, T target length, N tokens, D width, V vocabulary.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import build_model
from omegaconf import OmegaConf
from torch import Tensor
from torch.utils.serialization import config as serialization

from mtkd import checkpoint
from mtkd.corpus.subword import VOCABULARY
from mtkd.distill.beliefs import Head
from mtkd.distill.live import Interleaved, LiveTeachers
from mtkd.errors import CheckpointError, UsageError
from mtkd.fairseq_plugin.projection import teachers_projection

logger = logging.getLogger(__name__)

PROJECTION = "decoder.output_projection"
Weights = dict[str, Tensor]
"""Parameters and buffers by name."""


class OnlineTeachers:
    """The teachers of each corpus, to be asked about batches.

    Args:
        shares: corpus -> checkpoint -> how much that teacher is believed, summing to 1.
        corpora: all corpora, in the order of a batch's `corpus`.
        task: the fairseq task whose dictionaries the teachers must share.
        vocabulary: the fingerprint of that dictionary.
        temperature: T of the loss.
        bf16: whether to compute in bfloat16 on a type of device.

    Raises:
        UsageError: shares that do not sum to 1.
        CheckpointError: as `checkpoint.read`, a model of another vocabulary, or one without a plain softmax.
    """

    def __init__(
        self,
        shares: Mapping[str, Mapping[str, float]],
        corpora: Sequence[str],
        task: Any,
        *,
        vocabulary: str,
        temperature: float,
        bf16: Callable[[str], bool],
    ) -> None:
        self.vocab_size = len(task.target_dictionary)
        self.temperature = temperature
        self.bf16 = bf16
        self.shares: dict[Path, dict[int, float]] = {}
        """Teacher -> number of the corpus -> share."""
        for name, of in shares.items():
            _require_shares(name, of)
            for path, share in of.items():
                self.shares.setdefault(Path(path), {})[corpora.index(name)] = share
        self.taught = set(shares)
        """The corpora that have teachers."""
        self._is_taught = torch.tensor([name in shares for name in corpora])
        self.models = {path: load(path, task, vocabulary) for path in self.shares}
        self._pinned: dict[Path, Weights] = {}
        """On a GPU's host, what is moved in."""
        for name, of in shares.items():
            logger.info("online teachers: corpus=%s teachers=%s", name, ",".join(of))

    @torch.no_grad()
    def soft_targets(self, batch: Mapping[str, Any], mask_BT: Tensor) -> tuple[Interleaved | None, Tensor]:
        """What a batch's non-padding tokens [N] should be learnt from, if anything, and which rows [B] have teachers.

        Every teacher that the batch needs reads its rows of all corpora at once, so that its weights come in once.
        """
        corpus_B = batch["corpus"]
        known_B = self._is_taught.to(corpus_B.device)[corpus_B]
        present = corpus_B[known_B].unique().tolist()
        heads: dict[int, list[Head]] = {number: [] for number in present}
        for path, share_of in self.shares.items():
            asked = [number for number in present if number in share_of]
            if not asked:
                continue
            rows_R = torch.isin(corpus_B, corpus_B.new_tensor(asked)).nonzero().squeeze(1)
            features_RTD, weight_VD, bias_V = self._run(path, batch["net_input"], rows_R)
            for number in asked:
                mine_RT = mask_BT[rows_R] & corpus_B[rows_R].eq(number)[:, None]
                heads[number].append(Head(features_RTD[mine_RT], weight_VD, bias_V, share_of[number]))
        if not present:
            return None, known_B
        corpus_N = corpus_B[:, None].expand_as(mask_BT)[mask_BT]
        parts = [
            (corpus_N.eq(number).nonzero().squeeze(1), LiveTeachers(heads[number], self.temperature))
            for number in present
        ]
        return Interleaved(self.vocab_size, parts), known_B

    def _run(self, path: Path, net_input: Mapping[str, Tensor], rows_R: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The decoder's features of these rows under teacher forcing, and the output projection's weight and bias."""
        device = rows_R.device
        narrow = self.bf16(device.type)
        weights = self._moved_in(path, device, narrow=narrow)
        inputs: dict[str, Any] = {name: tensor[rows_R] for name, tensor in net_input.items()}
        inputs |= {"features_only": True, "return_all_hiddens": False}
        with torch.autocast(device.type, torch.bfloat16, enabled=narrow):
            features_RTD = torch.func.functional_call(self.models[path], weights, kwargs=inputs)[0]
        product = torch.bfloat16 if narrow else torch.float32
        bias = weights.get(f"{PROJECTION}.bias")
        weight_VD = weights[f"{PROJECTION}.weight"].to(product)
        return features_RTD.to(product), weight_VD, None if bias is None else bias.to(product)

    def _moved_in(self, path: Path, device: torch.device, *, narrow: bool) -> Weights:
        """The teacher's weights where they are needed, for as long as the caller holds them.

        On the CPU they are the file's own pages, in float32: autocast narrows one layer at a time.
        """
        parameters, buffers = (
            dict(of) for of in (self.models[path].named_parameters(), self.models[path].named_buffers())
        )
        if device.type == "cpu":
            return parameters | buffers
        if path not in self._pinned:
            copies = _each_once(narrowed(parameters) if narrow else parameters, Tensor.pin_memory)
            self._pinned[path] = copies | _each_once(buffers, Tensor.pin_memory)
        return _each_once(self._pinned[path], lambda tensor: tensor.to(device, non_blocking=True))


def load(path: Path, task: Any, vocabulary: str) -> Any:
    """A checkpoint's fairseq model in eval mode, its weights left in the pages of the file.

    Raises:
        CheckpointError: as `checkpoint.read`, a model of another vocabulary, or one without a plain softmax.
    """
    with serialization.patch({"load.mmap": True}):  # type: ignore[attr-defined]
        state = checkpoint.read(path)
    rows, wanted = len(state["model"][checkpoint.EMBEDDING]), len(task.target_dictionary)
    if rows != wanted:
        raise CheckpointError(checkpoint.wrong_vocabulary(path, rows, wanted))
    _require_vocabulary(path, vocabulary)
    model = build_model(_shape(state), task, from_checkpoint=True)
    teachers_projection(model, path)
    model.upgrade_state_dict(state["model"])
    weights = {name: value.float() if value.is_floating_point() else value for name, value in state["model"].items()}
    # Not fairseq's own load_state_dict, which would copy the pages into memory.
    torch.nn.Module.load_state_dict(model, weights, strict=True, assign=True)
    return model.requires_grad_(False).eval()


def _shape(state: dict[str, Any]) -> Any:
    """The model's arguments, of which older checkpoints hold no `cfg`."""
    if state.get("cfg") is None:
        return convert_namespace_to_omegaconf(state["args"]).model
    return OmegaConf.create(state["cfg"], flags={"allow_objects": True}).model


def narrowed(parameters: Weights) -> Weights:
    """Parameters with matrices in bfloat16; biases and norms are few, and float32 is what norms are computed in."""
    return _each_once(parameters, lambda tensor: tensor.bfloat16() if tensor.dim() > 1 else tensor)


def _require_shares(corpus: str, of: Mapping[str, float]) -> None:
    numbers = isinstance(of, dict) and all(isinstance(share, int | float) and share > 0 for share in of.values())
    if not numbers or abs(sum(of.values()) - 1.0) > 1e-6:
        raise UsageError(
            f"--online-teachers: {corpus}: must be a JSON object checkpoint -> share, all above 0 and summing to 1"
        )


def _require_vocabulary(path: Path, vocabulary: str) -> None:
    """Hold the fingerprint beside a checkpoint, if there is one, against ours."""
    beside = path.with_name(VOCABULARY)
    if beside.is_file() and (found := json.loads(beside.read_text(encoding="utf-8"))["fingerprint"]) != vocabulary:
        raise CheckpointError(
            f"{path}: its vocabulary is {found}, this run's is {vocabulary}; all models of a run share one vocabulary: "
            "set subword.model and subword.dictionary to the ones it was trained with"
        )


def _each_once(tensors: Weights, change: Callable[[Tensor], Tensor]) -> Weights:
    """Changed tensors, those that share memory (tied embeddings) sharing it again."""
    changed: dict[tuple[int, torch.Size], Tensor] = {}
    for tensor in tensors.values():
        key = tensor.data_ptr(), tensor.shape
        if key not in changed:
            changed[key] = change(tensor)
    return {name: changed[tensor.data_ptr(), tensor.shape] for name, tensor in tensors.items()}
