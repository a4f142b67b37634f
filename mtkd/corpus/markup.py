"""A page's bytes to a tree of elements, trusting nothing in them.

What it owns: a page's character encoding, its entities, and the switches of the two parsers.
What it must not know: which elements hold text, and what the text is for.
Why entities are replaced before the parser sees them: a manual's pages use entities that are declared in files they
were not shipped with, which a parser refuses; and no DTD is ever read, so that none can name a file or blow up.
"""

from __future__ import annotations

import codecs
import re
from html.entities import html5
from pathlib import Path
from typing import TYPE_CHECKING

from mtkd.errors import CorpusError

if TYPE_CHECKING:
    from lxml.etree import _Element

_XML_SUFFIXES = {".xml", ".docbook", ".dbk", ".page"}
_COMPRESSED_SUFFIXES = {".gz", ".zst", ".bz2"}
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_DECLARED_WITHIN = 4096
_DECLARATION = re.compile(
    rb"""<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)|<meta[^>]*?charset\s*=\s*["']?([\w.:-]+)""", re.I
)
# Pages that say Latin-1 are read as Windows-1252 by every browser (WHATWG Encoding, 4.2), quotation marks and all.
_WHATWG = {"iso-8859-1": "cp1252", "latin-1": "cp1252", "latin1": "cp1252", "us-ascii": "cp1252", "ascii": "cp1252"}
# Possessive: no text can make these patterns try again.
_PROLOGUE = re.compile(r"(?:\s++|<\?(?>.*?\?>)|<!--(?>.*?-->))*+", re.DOTALL)
_DOCTYPE = re.compile(r"<!DOCTYPE[^\[>]*+(?:\[((?>.*?\]\s*>))|>)", re.DOTALL | re.I)
_COMMENT = re.compile(r"<!--(?>.*?-->)", re.DOTALL)
_ENTITY = re.compile(r"""<!ENTITY\s+([\w.:-]+)\s+(?:"([^"]*+)"|'([^']*+)')\s*>""")
_REFERENCE = re.compile(r"&([A-Za-z_][\w.:-]*+);")
_PREDEFINED = {"amp", "lt", "gt", "quot", "apos"}
_LONGEST_ENTITY = 10_000
_MOST_FROM_ENTITIES = 10_000_000


def parse_page(path: Path, content: bytes) -> _Element:
    """The root element of a page: XML by the file's suffix, else HTML, which is never too broken to read.

    Raises:
        CorpusError: the bytes are not in the encoding that the page names, the XML is not well-formed, or its
            entities are made to fill the memory.
    """
    text = _decode(path, content)
    if not text.strip():
        raise CorpusError(f"{path}: the file is empty")
    format_name = next((suffix for suffix in reversed(path.suffixes) if suffix not in _COMPRESSED_SUFFIXES), "")
    return (_parse_xml if format_name in _XML_SUFFIXES else _parse_html)(path, text)


def _decode(path: Path, content: bytes) -> str:
    encoding, why = "utf-8", "and it declares no other encoding"
    declared = _DECLARATION.search(content[:_DECLARED_WITHIN])
    mark = next((mark for mark in _BYTE_ORDER_MARKS if content.startswith(mark)), None)
    if mark is not None:
        encoding, why = _BYTE_ORDER_MARKS[mark], "as its byte order mark says"
    elif declared:
        name = (declared[1] or declared[2]).decode("ascii")
        encoding, why = _WHATWG.get(name.lower(), name), "as it declares"
    try:
        return content.decode(encoding)
    except LookupError:
        raise CorpusError(f"{path}: declares the unknown encoding '{encoding}'; convert the page to UTF-8") from None
    except UnicodeDecodeError as error:
        where = f"byte {error.start + 1} of the file is 0x{content[error.start]:02x}"
        raise CorpusError(f"{path}: not {encoding.upper()}, {why} ({where}); convert the page to UTF-8") from None
    except UnicodeError:
        raise CorpusError(f"{path}: not {encoding.upper()}, {why}; convert the page to UTF-8") from None


def _parse_html(path: Path, text: str) -> _Element:
    from lxml import etree, html  # noqa: PLC0415 - `mtkd --help` must stay quick

    parser = html.HTMLParser(no_network=True, huge_tree=False, remove_comments=True, remove_pis=True)
    try:
        # A declaration of the encoding would contradict the text, which has none any more.
        root: _Element = html.document_fromstring(_PROLOGUE.sub("", text, count=1), parser=parser)
    except (etree.LxmlError, ValueError) as error:
        raise CorpusError(f"{path}: not readable as HTML: {_one_line(error)}") from None
    if any("Excessive depth" in entry.message for entry in parser.error_log):
        raise CorpusError(f"{path}: its elements lie more than 256 deep in each other; leave the page out with `skip`")
    return root


def _parse_xml(path: Path, text: str) -> _Element:
    from lxml import etree  # noqa: PLC0415

    parser = etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        return etree.fromstring(_without_entities(path, text), parser)
    except (etree.LxmlError, ValueError) as error:
        raise CorpusError(
            f"{path}: not well-formed XML: {_one_line(error)}; mend the page, or leave it out with `skip`"
        ) from None


def _without_entities(path: Path, text: str) -> str:
    """XML without prologue and document type, each entity replaced by its text, or by its name where none is known."""
    prologue = _PROLOGUE.match(text)
    assert prologue is not None, "the pattern fits an empty prologue"
    doctype = _DOCTYPE.match(text, prologue.end())
    declarations = _COMMENT.sub("", doctype[1] or "") if doctype else ""
    end = (doctype or prologue).end()
    body = "\n" * text.count("\n", 0, end) + text[end:]  # so that the parser's line numbers are right
    declared = {match[1]: match[2] or match[3] or "" for match in _ENTITY.finditer(declarations)}
    known: dict[str, str] = {}
    for name in declared:
        _expand(path, name, declared, known, ())
    budget = _MOST_FROM_ENTITIES

    def replacement(match: re.Match[str]) -> str:
        nonlocal budget
        name = match[1]
        if name in _PREDEFINED:
            return match[0]
        found = known.get(name, html5.get(f"{name};", name))
        budget -= len(found)
        if budget < 0:
            raise _bomb(path, name)
        return found

    return _REFERENCE.sub(replacement, body)


def _expand(path: Path, name: str, declared: dict[str, str], known: dict[str, str], outer: tuple[str, ...]) -> str:
    """Text of a declared entity, entities within it expanded; each is expanded once, into `known`."""
    if name in known:
        return known[name]
    if name in outer or len(outer) > 20:
        raise _bomb(path, name)

    def replacement(match: re.Match[str]) -> str:
        if match[1] in _PREDEFINED:
            return match[0]
        if match[1] in declared:
            return _expand(path, match[1], declared, known, (*outer, name))
        return html5.get(f"{match[1]};", match[1])

    expanded = _REFERENCE.sub(replacement, declared[name])
    if len(expanded) > _LONGEST_ENTITY:
        raise _bomb(path, name)
    known[name] = expanded
    return expanded


def _bomb(path: Path, name: str) -> CorpusError:
    return CorpusError(
        f"{path}: its entity '{name}' unfolds without end or to more text than a page can want (an XML bomb); "
        "it is not read: leave the page out with `skip`"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
