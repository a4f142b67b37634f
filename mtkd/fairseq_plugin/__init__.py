"""fairseq's `--user-dir`: task `multi_domain_translation`, criterion `word_kd`, optimiser `fused_adam`. No maths.

fairseq imports this folder a second time under the name `fairseq_plugin`; the absolute imports below then find the
modules already registered. Checkpoints hold an `argparse.Namespace`, the one class that reading them must allow.
"""

import argparse

import torch

from mtkd.fairseq_plugin import criterion, optimizer, task

__all__ = ["criterion", "optimizer", "task"]

torch.serialization.add_safe_globals([argparse.Namespace])
