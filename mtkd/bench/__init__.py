"""Benchmarks: what distillation and serving cost, measured so that others can repeat it.

    alternate.py   asks one process a variant in turn, so that all meet the same noise
    answer.py      the other end: clock and memory of the process that computes
    record.py      medians and ratios of what was measured, the machine, the JSON file
    benchmarks.py  which variants are compared on what
    loss.py train.py capture.py   the programs that compute, one process a variant
    synthetic.py   text, dictionary and store for them, made without a network
    serve.py       the service: what is measured on what; serve_figures.py: what is made of it, beside the aims
    serve_offline.py serve_client.py serve_handler.py   the programs: no server, a server and its clients, fairseq's
    serve_load.py serve_process.py serve_turns.py       a light HTTP client, a server's life, answers without torch

Only the programs import torch and fairseq: the process that measures stays small and idle.
"""
