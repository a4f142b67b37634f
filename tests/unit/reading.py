"""What the tests of readers have in common."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from mtkd.corpus.pair import Pair
from mtkd.corpus.readers import read_corpus
from mtkd.errors import CorpusError
from mtkd.recipe_text import Corpus, Languages

EN_DE = Languages(source="en", target="de")
DATA = Path(__file__).parents[1] / "data"
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda content: content,
    "gzip": lambda content: gzip.compress(content, mtime=0),
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def corpus_of(reader: str, **fields: Any) -> Corpus:
    return Corpus.model_validate({"reader": reader, "licence": "CC0-1.0", **fields})


def pairs_of(reader: str, **fields: Any) -> list[Pair]:
    return list(read_corpus(corpus_of(reader, **fields), EN_DE))


def refusal(corpus: Corpus) -> str:
    """The one line that is said of a corpus that cannot be read."""
    with pytest.raises(CorpusError) as caught:
        list(read_corpus(corpus, EN_DE))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def peak_memory(corpus: Corpus) -> int:
    """Bytes by which reading a corpus raises the memory of a fresh process, libraries' own memory included."""
    program = """
import re, sys
from pathlib import Path
from lxml import etree
from mtkd.corpus.readers import read_corpus
from mtkd.recipe_text import Corpus, Languages

def peak():  # not getrusage, which starts from the peak of the process that started this one
    return int(re.search("VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

corpus, languages = Corpus.model_validate_json(sys.argv[1]), Languages(source="en", target="de")
before = peak()
assert sum(1 for pair in read_corpus(corpus, languages)) > 1
print(peak() - before)
"""
    command = [sys.executable, "-c", program, corpus.model_dump_json()]
    root = Path(__file__).parents[2]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout)
