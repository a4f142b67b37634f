"""Benchmarks: what distillation costs beside ordinary fairseq training, measured so that others can repeat it.

    alternate.py   asks one process a variant in turn, so that all meet the same noise
    answer.py      the other end: clock and memory of the process that computes
    record.py      medians and ratios of what was measured, the machine, the JSON file
    benchmarks.py  which variants are compared on what
    loss.py train.py capture.py   the programs that compute, one process a variant
    synthetic.py   text, dictionary and store for them, made without a network

Only the programs import torch and fairseq: the process that measures stays small and idle.
"""
