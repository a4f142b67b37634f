"""The task `multi_domain_translation`: several binarised corpora, sampled by domain, with stored soft targets.

    fairseq-train DATA --user-dir mtkd/fairseq_plugin --task multi_domain_translation --domains office,religion \
        --soft-targets '{"office": "STORE", "religion": "STORE"}' --criterion word_kd --kd-weight 0.5 ...

DATA holds one folder a domain, each made by fairseq-preprocess with the same dictionary.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationTask, load_langpair_dataset
from torch.nn.attention import SDPBackend, sdpa_kernel

from mtkd.corpus.subword import domain_symbol, fingerprint
from mtkd.distill.topk import TopKStore, targets_checksum
from mtkd.errors import StoreMismatch, UsageError
from mtkd.fairseq_plugin.config import MultiDomainTranslationConfig
from mtkd.fairseq_plugin.dataset import DomainSampling, MultiDomainDataset, with_tag
from mtkd.fairseq_plugin.dropout import use_lane_dropout
from mtkd.fairseq_plugin.online import OnlineTeachers
from mtkd.recipe_text import TRANSFER, TRANSLATED

logger = logging.getLogger(__name__)


@register_task("multi_domain_translation", dataclass=MultiDomainTranslationConfig)
class MultiDomainTranslationTask(TranslationTask):  # type: ignore[misc]
    """Translation over several corpora; validation is over all their dev sets together."""

    def __init__(self, cfg: MultiDomainTranslationConfig, src_dict: Any, tgt_dict: Any) -> None:
        super().__init__(cfg, src_dict, tgt_dict)
        self.domains = domain_names(cfg.domains)
        self.transfer = {
            name + TRANSFER: (name, Path(path))
            for name, path in _json_object(cfg.transfer, "--transfer", self.domains).items()
        }
        self.translations = _json_object(cfg.translations, "--translations", self.domains)
        self.corpora = [*self.domains, *self.transfer]
        """Every corpus of the train split; those of other splits are the first of them."""
        self.vocabulary = fingerprint(tgt_dict.symbols[tgt_dict.nspecial :])
        self.online: OnlineTeachers | None = None
        """Teachers to run, once the train split is loaded."""

    @classmethod
    def setup_task(cls, cfg: MultiDomainTranslationConfig, **kwargs: Any) -> MultiDomainTranslationTask:
        """Load the dictionaries of the first domain and require the same in every other.

        Raises:
            UsageError: no domains, a missing folder, or dictionaries that differ.
        """
        names = domain_names(cfg.domains)
        if not cfg.source_lang or not cfg.target_lang:
            raise UsageError("multi_domain_translation needs --source-lang and --target-lang")
        loaded = {}
        for name in names:
            for lang in (cfg.source_lang, cfg.target_lang):
                path = Path(cfg.data) / name / f"dict.{lang}.txt"
                if not path.is_file():
                    raise UsageError(f"{path} is missing: DATA must hold one fairseq-preprocess folder a domain")
                loaded[name, lang] = cls.load_dictionary(str(path))
        source, target = (loaded[names[0], lang] for lang in (cfg.source_lang, cfg.target_lang))
        for (name, lang), dictionary in loaded.items():
            if dictionary != (source if lang == cfg.source_lang else target):
                raise UsageError(f"{name}: dict.{lang}.txt differs from {names[0]}'s: all domains share one vocabulary")
        return cls(cfg, source, target)

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> None:
        """Load one split of every domain; soft targets are joined to the train split only."""
        folders = {name: Path(self.cfg.data) / name for name in self.domains}
        if split != self.cfg.train_subset:
            corpora = self._load_all(folders, split)
            self.datasets[split] = MultiDomainDataset(corpora, shuffle=split != "test", order=str(self.cfg.batch_order))
            return
        folders |= {name: Path(folder) for name, folder in self.translations.items()}
        folders |= {name: folder for name, (_, folder) in self.transfer.items()}
        corpora = self._load_all(folders, split)
        stores = self._open_stores(corpora)
        self.online = self._load_teachers(stores)
        untaught = self.transfer.keys() - stores.keys() - (self.online.taught if self.online else set())
        if untaught:
            raise UsageError(
                f"--transfer: {', '.join(sorted(untaught))} has no store in --soft-targets to learn from, "
                "nor teachers in --online-teachers"
            )
        weights = {
            flag: _json_object(text, flag, self.domains)
            for flag, text in (
                ("--sampling-weights", self.cfg.sampling_weights),
                ("--loss-weights", self.cfg.loss_weights),
            )
        }
        for of in weights.values():
            of |= {name: of[domain] for name, (domain, _) in self.transfer.items() if domain in of}
        self.datasets[split] = MultiDomainDataset(
            corpora,
            stores=stores,
            top_k=self.cfg.soft_targets_top_k,
            temperature=self.cfg.kd_temperature,
            needs_tail=self._needs_tail,
            sampling=DomainSampling(
                weights=weights["--sampling-weights"],
                temperature=self.cfg.sampling_temperature,
                seed=self.cfg.seed,
            ),
            without_references=self.transfer.keys(),
            loss_weights=weights["--loss-weights"],
            order=str(self.cfg.batch_order),
        )

    def _load_all(self, folders: dict[str, Path], split: str) -> dict[str, Any]:
        """One split of every corpus, its sources tagged with its domain where that is asked for."""
        corpora = {name: self._load(folder, split) for name, folder in folders.items()}
        if not self.cfg.tag_domains:
            return corpora
        return {name: with_tag(rows, domain_symbol(name.removesuffix(TRANSFER))) for name, rows in corpora.items()}

    def _load(self, folder: Path, split: str) -> Any:
        return load_langpair_dataset(
            str(folder),
            split,
            self.cfg.source_lang,
            self.src_dict,
            self.cfg.target_lang,
            self.tgt_dict,
            combine=False,
            dataset_impl=self.cfg.dataset_impl,
            upsample_primary=1,
            left_pad_source=self.cfg.left_pad_source,
            left_pad_target=False,
            max_source_positions=self.cfg.max_source_positions,
            max_target_positions=self.cfg.max_target_positions,
            truncate_source=self.cfg.truncate_source,
            shuffle=split != "test",
        )

    @property
    def _needs_tail(self) -> bool:
        return bool(self.cfg.kd_tail != "renormalise")

    def _open_stores(self, corpora: dict[str, Any]) -> dict[str, TopKStore]:
        """Open each named store and hold it against this vocabulary and these very targets."""
        stores = {}
        for name, path in _json_object(self.cfg.soft_targets, "--soft-targets", self.corpora).items():
            store = TopKStore.open(Path(path))
            targets = targets_checksum(corpora[name].tgt[row].numpy() for row in range(len(corpora[name])))
            captured = name + TRANSLATED if name in self.translations else name
            store.require(vocabulary=self.vocabulary, targets=targets, corpus=captured)
            if self._needs_tail or len(store.header.teachers) > 1:
                store.tail_column(self.cfg.kd_temperature)
            if self.cfg.soft_targets_top_k > store.header.top_k:
                raise StoreMismatch(
                    f"{path}: holds k = {store.header.top_k}, asked for {self.cfg.soft_targets_top_k}; "
                    "rerun step 'capture'"
                )
            stores[name] = store
        for name, corpus in corpora.items():
            logger.info("soft targets: corpus=%s rows=%d store=%s", name, len(corpus), name in stores)
        return stores

    def _load_teachers(self, stores: dict[str, TopKStore]) -> OnlineTeachers | None:
        shares = _json_object(self.cfg.online_teachers, "--online-teachers", self.corpora)
        if not shares:
            return None
        if stores:
            raise UsageError("--soft-targets and --online-teachers: give one of the two")
        return OnlineTeachers(
            shares,
            self.corpora,
            self,
            vocabulary=self.vocabulary,
            temperature=self.cfg.kd_temperature,
            bf16=self.computes_in_bf16,
        )

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """fairseq's model with our dropout."""
        model = super().build_model(cfg, from_checkpoint)
        use_lane_dropout(model)
        return model

    def train_step(
        self, sample: Any, model: Any, criterion: Any, optimizer: Any, update_num: int, ignore_grad: bool = False
    ) -> tuple[Any, Any, Any]:
        """Forward under bf16 autocast, backward outside it.

        Stock fairseq nests `autocast(enabled=False)`, which would cancel ours.
        """
        model.train()
        model.set_num_updates(update_num)
        with self._number_format(sample):
            loss, sample_size, logging_output = criterion(model, sample)
        if ignore_grad:
            loss *= 0
        optimizer.backward(loss)
        return loss, sample_size, logging_output

    def computes_in_bf16(self, device: str) -> bool:
        """Whether matrix products on this type of device are in bfloat16."""
        return bool(self.cfg.bf16_autocast == "on" or (self.cfg.bf16_autocast == "auto" and fast_bf16(device)))

    @contextlib.contextmanager
    def _number_format(self, sample: Any) -> Iterator[None]:
        """bfloat16 matrix products where they are fast.

        On a CPU attention is then two matrix products and a softmax: torch's fused kernel takes ten times as long
        backward as forward in bfloat16, a quarter of a small model's update (docs/benchmarks/README.md).
        """
        device = sample["target"].device.type if sample else "cpu"
        if self.cfg.fp16 or not self.computes_in_bf16(device):
            yield
            return
        attention = sdpa_kernel(SDPBackend.MATH) if device == "cpu" else contextlib.nullcontext()
        with torch.autocast(device, dtype=torch.bfloat16), attention:
            yield


def fast_bf16(device: str) -> bool:
    """Whether bfloat16 is computed natively: GPUs since Ampere, CPUs with avx512_bf16 or AMX."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False


def domain_names(text: str) -> list[str]:
    """The names in `--domains a,b,c`.

    Raises:
        UsageError: none, or one of them twice.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("--domains is empty: name the folders of DATA, e.g. --domains office,religion")
    if len(set(names)) < len(names):
        raise UsageError(f"--domains {text}: a domain is named twice")
    return names


def _json_object(text: str, flag: str, names: Iterable[str]) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{flag}: not JSON: {error}") from None
    if not isinstance(value, dict) or not set(value) <= set(names):
        raise UsageError(f"{flag}: must be a JSON object whose keys are among the domains {', '.join(names)}")
    return value
