"""Text in, clean split subword text out: readers -> clean -> split (with leakage) -> subword.

What it owns: what a line, a pair, a filter, a held-out set and a piece are. What it must not know: torch, fairseq,
models, HTTP, or where a run keeps its files (callers pass folders). Each step is one function from folder to folder.
"""
