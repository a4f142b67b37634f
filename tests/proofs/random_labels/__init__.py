"""A fairseq plug-in for one proof: mtkd's task with labels replaced by random ones; the decoder's input stays right."""

from dataclasses import dataclass

import torch
from fairseq.tasks import register_task

from mtkd.fairseq_plugin.config import MultiDomainTranslationConfig
from mtkd.fairseq_plugin.dataset import MultiDomainDataset
from mtkd.fairseq_plugin.task import MultiDomainTranslationTask


@dataclass
class RandomLabelsConfig(MultiDomainTranslationConfig):
    """The same arguments."""


class RandomLabels(MultiDomainDataset):
    def collater(self, samples, pad_to_length=None):
        batch = super().collater(samples, pad_to_length)
        vocabulary = self.corpora[self.names[0]].tgt_dict
        target = batch["target"]
        noise = torch.randint(vocabulary.nspecial, len(vocabulary), target.shape)
        batch["target"] = torch.where(target.eq(vocabulary.pad()), target, noise)
        return batch


@register_task("random_labels", dataclass=RandomLabelsConfig)
class RandomLabelsTask(MultiDomainTranslationTask):
    def load_dataset(self, split, epoch=1, combine=False, **kwargs):
        super().load_dataset(split, epoch, combine, **kwargs)
        if split == "train":
            self.datasets[split].__class__ = RandomLabels
