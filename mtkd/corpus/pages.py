"""Reads paired pages of two languages: HTML, DocBook XML or Mallard.

What it owns: which elements of a page are blocks of text, and when a page is too unlike its other edition to be used.
What it must not know: parsing and its dangers (`markup`), how blocks are paired (`blocks`), sentences.
"""

from __future__ import annotations

import bz2
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mtkd.corpus.blocks import Block, align
from mtkd.corpus.compressed import read_bytes
from mtkd.corpus.markup import parse_page
from mtkd.corpus.pair import Pair
from mtkd.corpus.sources import paired
from mtkd.errors import CorpusError
from mtkd.recipe_text import Corpus, Languages

if TYPE_CHECKING:
    from lxml.etree import _Element

logger = logging.getLogger(__name__)

_HTML = """
address article aside blockquote body caption center dd details div dl dt fieldset figcaption figure h1 h2 h3 h4 h5 h6
header hr html legend li main ol p section summary table tbody td tfoot th thead tr ul
"""
_DOCBOOK = """
abstract answer appendix bibliography book bridgehead callout calloutlist caution chapter entry epigraph example
formalpara glossary glossdef glossdiv glossentry glosslist glosssee glossterm important informalexample informalfigure
informaltable itemizedlist listitem member note orderedlist para part partintro preface procedure qandaentry qandaset
question refentry refname refpurpose refsect1 refsect2 refsect3 refsection row screenshot sect1 sect2 sect3 sect4 sect5
seg segmentedlist set sidebar simpara simplelist simplesect step substeps subtitle tgroup tip title variablelist
varlistentry warning
"""
_MALLARD = "desc info item list page steps term terms tree"
_BLOCKS = frozenset(f"{_HTML} {_DOCBOOK} {_MALLARD}".split())
_LISTINGS = frozenset(
    """
cmdsynopsis funcsynopsis listing literallayout pre programlisting programlistingco screen screenco synopsis textarea xmp
""".split()  # noqa: SIM905 - so many quoted names would be harder to read
)
"""Left out, and the text before and after is not of one block."""
_LEFT_OUT = frozenset(
    """
articleinfo author authorgroup bookinfo button canvas chapterinfo copyright credit footer form head index indexterm
legalnotice license link-list map math media nav noscript object othercredit releaseinfo remark revhistory revision
script sect1info sectioninfo select style svg template tindex titleabbrev
""".split()  # noqa: SIM905 - so many quoted names would be harder to read
)
"""Left out as if it were not there."""
_ASIDE = frozenset(["footnote"])
"""Within a sentence, but not of it: a block of its own before the one that it is in."""
_NAVIGATION = frozenset(
    """
bottomlang breadcrumbs debug docnav footer footnote-reference headerlink menu nav nav_table navbar navcenter navfooter
navheader navigation page-header path permalink quickview related sphinxsidebar this-page-menu toc tocframe toplang
""".split()  # noqa: SIM905 - so many quoted names would be harder to read
)
"""Classes and ids of elements that are left out as well: what the style sheets of DocBook, Publican, Sphinx, Texinfo
and Apache call them, and many sites."""
_CODE_CONTAINERS = frozenset(["example", "figure", "page", "section"])
_FOOTNOTE_MARK = re.compile(r"\s*\[\w{1,3}\]\s*")
_MOST_UNPAIRED = 0.5
"""Share of blocks. (With a third of the blocks taken from both editions of a page, one pair in seven was wrong.)"""
_BZIP2 = b"BZh"
_LARGEST = 1 << 26


def read_pages(corpus: Corpus, languages: Languages) -> Iterator[Pair]:
    """Two editions of each page, block by block; a page whose editions are too unlike is left out, and logged.

    Pages that `skip` names are not even opened, so that it can leave out a broken one.

    Raises:
        CorpusError: a page that cannot be read, or patterns that find no pair of pages.
    """
    names = corpus.names()
    skip = re.compile(corpus.skip) if corpus.skip else None
    used = left_out = 0
    source_characters = target_characters = 1000  # as if that much of equal length had been seen
    for document, source_path, target_path in paired(names["source"], names["target"]):
        if skip and skip.search(document):
            continue
        source, target = read_blocks(source_path), read_blocks(target_path)
        pairs = align(source, target, length_ratio=target_characters / source_characters)
        unpaired = len(source) + len(target) - 2 * len(pairs)
        if unpaired > _MOST_UNPAIRED * (len(source) + len(target)):
            left_out += 1
            logger.info("left_out=%s blocks=%d,%d paired=%d", document, len(source), len(target), len(pairs))
            continue
        used += 1
        for ours, theirs in pairs:
            source_characters += len(ours.text)
            target_characters += len(theirs.text)
            yield Pair(ours.text, theirs.text, document)
    logger.info("pages=%d left_out=%d source=%s", used, left_out, names["source"])


def read_blocks(path: Path) -> list[Block]:
    """The blocks of text of one page, in its order: white space is one space, inline markup leaves its text.

    Raises:
        CorpusError: the page cannot be read; see `markup.parse_page`.
    """
    root = parse_page(path, _content(path))
    blocks: list[Block] = []
    parts: list[str] = []
    _collect(root, _name(root), parts, blocks)
    _close(_name(root), parts, blocks)
    return blocks


def _content(path: Path) -> bytes:
    """All of a file; KDE's built manuals are compressed with bzip2, which no other format here is."""
    content = read_bytes(path)
    if not content.startswith(_BZIP2):
        return content
    unpacker = bz2.BZ2Decompressor()
    try:
        content = unpacker.decompress(content, max_length=_LARGEST)
    except OSError as error:
        raise CorpusError(f"{path}: the file is damaged (bzip2: {error}); fetch or copy it again") from None
    if unpacker.eof:
        return content
    if len(content) == _LARGEST:
        raise CorpusError(f"{path}: holds more than {_LARGEST >> 20} MiB, too much for a page")
    raise CorpusError(f"{path}: the file is truncated (bzip2); fetch or copy it again")


def _collect(element: _Element, tag: str, parts: list[str], blocks: list[Block]) -> None:
    """Add an element's text to the open block (`parts`, which is of the element `tag`), and every block within it.

    The parsers limit how deep elements lie in each other (256), and so how deep this goes.
    """
    parts.append(element.text or "")
    for child in element:
        name = _name(child)
        if name in _LISTINGS or _is_listing(child, name):
            _close(tag, parts, blocks)
        elif name in _LEFT_OUT or _is_navigation(child) or _is_other_choice(child) or _is_mark(child, name):
            pass
        elif name in _BLOCKS or name in _ASIDE:
            if name in _BLOCKS:
                _close(tag, parts, blocks)
            inner: list[str] = []
            _collect(child, name, inner, blocks)
            _close(name, inner, blocks)
        else:
            if name in ("br", "img", "sbr"):
                parts.append(" ")
            _collect(child, tag, parts, blocks)
        parts.append(child.tail or "")


def _close(tag: str, parts: list[str], blocks: list[Block]) -> None:
    text = " ".join("".join(parts).split())
    parts.clear()
    if any(map(str.isalnum, text)):
        blocks.append(Block(tag, text))


def _name(element: _Element) -> str:
    """Its name without namespace; "" for what is no element (an entity that was left as it is)."""
    tag = element.tag
    return tag.rpartition("}")[2].lower() if isinstance(tag, str) else ""


def _is_navigation(element: _Element) -> bool:
    labels = f"{element.get('class', '')} {element.get('id', '')}"
    return not _NAVIGATION.isdisjoint(labels.lower().split())


def _is_listing(element: _Element, name: str) -> bool:
    """Sphinx's listings; Mallard's `code` is one where it is not within a paragraph."""
    if name == "code":
        parent = element.getparent()
        return parent is not None and _name(parent) in _CODE_CONTAINERS
    return name == "div" and "highlight" in element.get("class", "").split()


def _is_other_choice(element: _Element) -> bool:
    """Of neighbours that are hidden until a script shows one (a sentence for each system), the last is read."""
    if element.get("hidden") is None:
        return False
    following = element.getnext()
    return following is not None and following.get("hidden") is not None


def _is_mark(element: _Element, name: str) -> bool:
    """A footnote's number, `[1]`, in the text or before the footnote."""
    return name == "sup" and _FOOTNOTE_MARK.fullmatch("".join(map(str, element.itertext()))) is not None
