"""Elements of an XML file one after the other, from files that nobody has checked.

What it owns: safe and streaming parsing, the text of an element. What it must not know: what the elements mean.
Why so closed: with entities, DTDs and the network switched off a file can neither blow up, nor read another file, nor
call anybody; and as each element is freed after use, memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtkd.corpus.compressed import open_bytes
from mtkd.errors import CorpusError

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_SAFE: dict[str, Any] = {
    "resolve_entities": False,
    "load_dtd": False,
    "no_network": True,
    "huge_tree": False,
    "remove_comments": True,
    "remove_pis": True,
}


def elements(path: Path, root: str, *tags: str) -> Iterator[Element]:
    """Stream the elements called one of `tags`, of any namespace, from a file whose outermost element is `root`.

    An element is whole when it is yielded and gone when the next is; its ancestors still have their attributes.

    Raises:
        CorpusError: the file is unreadable, empty, not well-formed, of another root, or declares entities.
    """
    # In two passes, for the first would be slow as the only one: it stops at every element there is.
    with open_bytes(path) as file:
        if not file.peek(1):
            raise CorpusError(f"{path}: the file is empty")
        _check_root(path, next(_parsed(path, file, events=("start",))), root)
    with open_bytes(path) as file:
        for element in _parsed(path, file, tag=[f"{{*}}{tag}" for tag in tags]):
            yield element
            _free(element)


def text_of(path: Path, element: Element | None, codes: Collection[str]) -> str:
    """The text in an element, without what is in the inline elements `codes`; a code for a line break is a space.

    Raises:
        CorpusError: it holds an entity, which cannot have been declared.
    """
    if element is None:
        return ""
    if not len(element):
        return element.text or ""
    parts = [element.text or ""]
    for child in element:
        if not isinstance(child.tag, str):
            raise CorpusError(
                f"{path}: line {child.sourceline}: the entity {child.text} is not declared; write the character itself"
            )
        if local_name(child) not in codes:
            parts.append(text_of(path, child, codes))
        elif "lb" in (child.get("type"), child.get("ctype")):
            parts.append(" ")
        parts.append(child.tail or "")
    return "".join(parts)


def local_name(element: Element) -> str:
    """An element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def _parsed(path: Path, file: Any, **chosen: Any) -> Iterator[Element]:
    from lxml import etree  # noqa: PLC0415 - most corpora do not need it

    events = etree.iterparse(file, **chosen, **_SAFE)
    try:
        yield from (element for _, element in events)
    except etree.XMLSyntaxError as error:
        # The exception only says that there is no tree where an entity is unknown; the log says why.
        first = next(iter(events.error_log), None)
        line, message = (first.line, first.message) if first else (error.lineno, error.msg)
        raise CorpusError(f"{path}: line {line}: not well-formed XML ({' '.join(str(message).split())})") from None


def _check_root(path: Path, found: Element, root: str) -> None:
    if local_name(found) != root:
        raise CorpusError(f"{path}: line {found.sourceline}: its outermost element is {local_name(found)}, not {root}")
    declared: Any = found.getroottree().docinfo.internalDTD
    if declared is not None and any(True for _ in declared.iterentities()):
        raise CorpusError(f"{path}: declares XML entities, which are not read from corpora; write the text itself")


def _free(element: Element) -> None:
    """Empty an element, and drop all that lies before it and its ancestors."""
    element.clear()
    inner: Element | None = element
    while inner is not None and (parent := inner.getparent()) is not None:
        while inner.getprevious() is not None:
            del parent[0]
        inner = parent
