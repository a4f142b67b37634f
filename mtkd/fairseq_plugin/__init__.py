"""fairseq's `--user-dir`: the task `multi_domain_translation` and the criterion `word_kd`. Adapters, no maths.

fairseq imports this folder a second time under the name `fairseq_plugin`; the absolute imports below then find the
modules already registered. Checkpoints hold an `argparse.Namespace`, the one class that reading them must allow.
"""

import argparse

import torch

from mtkd.fairseq_plugin import criterion, task

__all__ = ["criterion", "task"]

torch.serialization.add_safe_globals([argparse.Namespace])
