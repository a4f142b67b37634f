"""Markup whose text is translated and whose tags stay what and where they are, byte for byte.

What it owns: what is text in XML and in HTML, what of it is to be translated, and how a translation is written back.
What it must not know: HTTP, dialects, engines.
Why no tree: a parser's tree, written out again, has other quotes, entities and spaces than what was sent. Here every
piece is either sent back as it came, or is text that was translated; so a tag can neither be lost nor doubled.
Expat checks XML and cuts it; it expands no entity and reads no DTD, so there is nothing to blow up or to fetch.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import Literal, NamedTuple
from xml.parsers import expat

from mtkd.errors import CorpusError

Kind = Literal["html", "text", "xml"]
Translate = Callable[[Sequence[str]], Awaitable[list[str]]]


class MarkupError(CorpusError):
    """XML that is not well-formed; the message names the text's number, the line and the reason, never the text."""


class Piece(NamedTuple):
    """A stretch of markup: `raw` as it was sent; `text` is what it says, empty where nothing is to be translated."""

    raw: str
    text: str = ""
    escape: Callable[[str], str] = str
    """Writes a text so that a parser reads it back."""
    verbatim: bool = False
    """Its line breaks are part of what it says, as in HTML's `pre`."""


async def translate_markup(
    translate: Translate,
    texts: Sequence[str],
    *,
    kind: Kind,
    ignore_tags: Collection[str] = (),
    unwrap: bool | None = None,
) -> list[str]:
    """Translate the text between the tags of each text; all of them go to `translate` in one call.

    Every run of text between two tags is translated for itself, without its outer spaces, which stay. Text within an
    element of `ignore_tags` stays too, and in HTML within `script`, `style`, `translate="no"` and the class
    `notranslate`. What `translate` leaves unchanged comes back exactly as it was written, entities included.
    `unwrap` gives lines that are only wrapped to `translate` as one (not those of `pre`); None: in HTML only.

    Raises:
        MarkupError: XML that is not well-formed. It may be a fragment: text, several elements, no declaration.
    """
    cut = KINDS[kind]
    pieces = [list(_numbered(cut, number, text, ignore_tags)) for number, text in enumerate(texts, 1)]
    unwrap = kind == "html" if unwrap is None else unwrap
    wanted = [_source(piece, unwrap) for row in pieces for piece in row if piece.text.strip()]
    outputs = iter(zip(wanted, await translate(wanted) if wanted else [], strict=True))
    return [
        "".join(_written(piece, *next(outputs)) if piece.text.strip() else piece.raw for piece in row) for row in pieces
    ]


def _numbered(cut: Cut, number: int, text: str, ignore_tags: Collection[str]) -> Iterator[Piece]:
    try:
        yield from cut(text, ignore_tags)
    except MarkupError as error:
        raise MarkupError(f"text {number}, {error}") from None


# A break between two lines that both have text; blank lines part paragraphs and stay.
_WRAP = re.compile(r"(?<=\S)[^\S\r\n]*(?:\r\n|\r|\n)[^\S\r\n]*(?=\S)")


def _source(piece: Piece, unwrap: bool) -> str:
    text = piece.text.strip()
    return _WRAP.sub(" ", text) if unwrap and not piece.verbatim else text


def _written(piece: Piece, source: str, output: str) -> str:
    if output == source:
        return piece.raw
    core = piece.text.strip()
    start = piece.text.index(core)
    return piece.escape(piece.text[:start] + output + piece.text[start + len(core) :])


class _Untranslated:
    """Whether we are within an element whose text stays; its end tag, or that of an element around it, ends that."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._count: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._open)

    def start(self, name: str, begins: bool) -> None:
        """A start tag; `begins`: the text of its element stays."""
        if begins or self._open:
            self._open.append(name)
            self._count[name] += 1

    def end(self, name: str) -> None:
        """An end tag; one that no start tag belongs to ends nothing."""
        while self._count[name]:
            last = self._open.pop()
            self._count[last] -= 1
            if last == name:
                break


_TAG = re.compile(r"<(/?)([^\s/>]+)")


def _plain(text: str, ignore_tags: Collection[str]) -> Iterator[Piece]:
    yield Piece(text, text)


# XML: expat hands out every token as it was written.

# What only the beginning of a document may have; a DTD with declarations of its own ("[") is not among it.
_PROLOG = re.compile(r"\ufeff?(?:\s|<!--.*?-->|<\?.*?\?>)*+<!DOCTYPE[^\[>]*+>|\ufeff?\s*<\?xml\s.*?\?>|", re.DOTALL)
_CDATA, _CDATA_END = "<![CDATA[", "]]>"
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _xml(text: str, ignore_tags: Collection[str]) -> Iterator[Piece]:
    start = _PROLOG.match(text)
    prolog = start[0] if start else ""
    yield Piece(prolog)
    untranslated, in_cdata, run = _Untranslated(), False, ""
    for raw in _xml_tokens(text, len(prolog)):
        ends_cdata = in_cdata and raw == _CDATA_END
        is_opaque = not in_cdata and (raw[0] == "<" or (raw[0] == "&" and html.unescape(raw) == raw))
        if ends_cdata or is_opaque:
            yield _xml_text(run, in_cdata, untranslated)
            yield Piece(raw)
            in_cdata, run = raw == _CDATA, ""
            if is_opaque and (tag := _TAG.match(raw)):
                if tag[1]:
                    untranslated.end(tag[2])
                elif not raw.endswith("/>"):
                    untranslated.start(tag[2], tag[2] in ignore_tags)
        else:
            run += raw
    yield _xml_text(run, False, untranslated)


def _xml_tokens(text: str, start: int) -> list[str]:
    tokens: list[str] = []
    parser = expat.ParserCreate()
    # Entities that it cannot know are handed out as tokens instead of refused: clients send &nbsp; in XML.
    parser.UseForeignDTD(True)
    parser.DefaultHandler = tokens.append
    try:
        parser.Parse(f"<r>{text[start:]}</r>", True)
    except expat.ExpatError as error:
        line = error.lineno + len(text[:start].splitlines()[1:])
        raise MarkupError(f"line {line}: {expat.ErrorString(error.code)}") from None
    return tokens[1:-1]


def _xml_text(raw: str, is_cdata: bool, untranslated: _Untranslated) -> Piece:
    if untranslated:
        return Piece(raw)
    return Piece(raw, raw, _escape_cdata) if is_cdata else Piece(raw, html.unescape(raw), _escape_xml)


def _escape_xml(text: str) -> str:
    return html.escape(_NOT_XML.sub("", text), quote=False)


def _escape_cdata(text: str) -> str:
    return _NOT_XML.sub("", text).replace(_CDATA_END, "]]]]><![CDATA[>")


# HTML: tokens as the HTML standard's tokenizer cuts them; nothing is malformed. Every quantifier that could be tried
# again in another way is possessive, so that the time is linear in the length.

_ATTRIBUTE = r"""(=?[^\s/>=]++|=)(?:\s*+=\s*+("[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z)|[^\s>]*+))?+"""
_HTML_TOKEN = re.compile(
    rf"""<!--(?:-?>|.*?(?:--!?>|\Z))|</?[a-zA-Z][^\s/>]*+(?:[\s/]++|{_ATTRIBUTE})*+(?:>|\Z)|<[!?/][^>]*+(?:>|\Z)""",
    re.DOTALL,
)
_HTML_ATTRIBUTE = re.compile(_ATTRIBUTE)
_VOID = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"]
)
_NO_TAGS_WITHIN = {
    name: re.compile(rf"</{name}(?=[\s/>])|\Z", re.IGNORECASE)
    for name in ("iframe", "noembed", "noframes", "script", "style", "textarea", "title", "xmp")
}
_TEXT_WITHOUT_TAGS = ("textarea", "title")
_VERBATIM = ("pre", "textarea")


def _html(text: str, ignore_tags: Collection[str]) -> Iterator[Piece]:
    ignored = {name.lower() for name in ignore_tags}
    untranslated, verbatim, position = _Untranslated(), 0, 0
    while token := _HTML_TOKEN.search(text, position):
        yield from _html_text(text[position : token.start()], bool(untranslated), verbatim > 0)
        yield Piece(token[0])
        position = token.end()
        tag = _TAG.match(token[0])
        if tag is None or not tag[2][0].isalpha():
            continue
        name = tag[2].lower()
        if tag[1]:
            untranslated.end(name)
            verbatim -= name in _VERBATIM and verbatim > 0
        elif name not in _VOID and not token[0].endswith("/>"):
            untranslated.start(name, name in ignored or _says_no(token[0][tag.end() :]))
            verbatim += name in _VERBATIM
            if name in _NO_TAGS_WITHIN:
                end = next(_NO_TAGS_WITHIN[name].finditer(text, position)).start()
                stays = bool(untranslated) or name not in _TEXT_WITHOUT_TAGS
                yield from _html_text(text[position:end], stays, verbatim > 0)
                position = end
    yield from _html_text(text[position:], bool(untranslated), verbatim > 0)


def _says_no(attributes: str) -> bool:
    """Whether a tag has `translate="no"` or the class `notranslate`."""
    if "translate" not in attributes:
        return False
    values = {name.lower(): value.strip("\"'") for name, value in _HTML_ATTRIBUTE.findall(attributes)}
    return values.get("translate", "").lower() == "no" or "notranslate" in values.get("class", "").split()


def _html_text(raw: str, stays: bool, verbatim: bool) -> Iterator[Piece]:
    if stays:
        yield Piece(raw)
    else:
        yield Piece(raw, html.unescape(raw), _escape_html, verbatim)


def _escape_html(text: str) -> str:
    """As the HTML standard writes text out."""
    return html.escape(text, quote=False).replace("\u00a0", "&nbsp;")


Cut = Callable[[str, Collection[str]], Iterator[Piece]]
KINDS: dict[Kind, Cut] = {"html": _html, "text": _plain, "xml": _xml}
"""From a kind to the function that cuts a text of that kind, joined again the same, into pieces."""
