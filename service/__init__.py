"""Serves one bundle over HTTP.

What it owns: HTTP dialects, splitting of text, inference engines. What it must not know: training, recipes, torch,
fairseq. Of mtkd it imports `mtkd.bundle`, the contract between the two, and the errors that come with it.
"""
