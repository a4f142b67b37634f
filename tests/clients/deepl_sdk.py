"""Asks the server at argv[1] through DeepL's own Python package; prints what it said as JSON. A script."""

from __future__ import annotations

import json
import sys

import deepl


def refused(**options):
    try:
        client.translate_text(**{"text": "a", "target_lang": "DE"} | options)
    except deepl.DeepLException as error:
        return [type(error).__name__, str(error)]
    return None


def texts(results):
    return [result.text for result in results]


TEXTS, MARKUP = json.loads(sys.argv[2]), sys.argv[3]
client = deepl.DeepLClient("any:fx", server_url=sys.argv[1])
one = client.translate_text(TEXTS[0], target_lang="DE")
usage = client.get_usage()
everything = client.translate_text(
    MARKUP,
    source_lang="en",
    target_lang="de",
    context="context",
    split_sentences=deepl.SplitSentences.NO_NEWLINES,
    preserve_formatting=True,
    formality=deepl.Formality.PREFER_LESS,
    tag_handling="xml",
    tag_handling_version="v2",
    outline_detection=False,
    splitting_tags=["p"],
    non_splitting_tags=["i"],
    ignore_tags=["x", "y"],
    model_type=deepl.ModelType.QUALITY_OPTIMIZED,
    extra_body_parameters={"debug": "1"},
)
print(
    json.dumps(
        {
            "one": [one.text, one.detected_source_lang, one.billed_characters],
            "list": texts(client.translate_text(TEXTS, source_lang="EN", target_lang="DE")),
            "fifty": len(client.translate_text(["a"] * 50, target_lang="DE")),
            "everything": [everything.text, everything.model_type_used],
            "html": client.translate_text(MARKUP, target_lang="DE", tag_handling="html").text,
            "sources": [[entry.code, entry.name] for entry in client.get_source_languages()],
            "targets": [[entry.code, entry.supports_formality] for entry in client.get_target_languages()],
            "pairs": client.get_glossary_languages(),
            "glossaries": client.list_glossaries(),
            "usage": [usage.character.count, usage.any_limit_reached, str(usage)],
            "refused": {
                "target": refused(target_lang="FR"),
                "source": refused(source_lang="FR"),
                "formality": refused(formality="more"),
                "xml": refused(text="<a>", tag_handling="xml"),
                "size": refused(text="a" * 140_000),
                "glossary": refused(source_lang="EN", glossary="1234"),
            },
        }
    )
)
