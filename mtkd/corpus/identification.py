"""Says whether a text is confidently in another language than it should be.

What it owns: when py3langid is asked, among which languages, and how much text it takes to be sure.
What it must not know: pairs, files, recipes.
Why it is asked so rarely: it takes about 0.1 ms a sentence, and is sure of itself where there is nothing to be sure
of, as of names and part numbers. So it is the second witness: the first is that a sentence has at least as many
function words of another language as of its own. Of a language without a list of them there is one witness only.
Why among few languages: every further candidate is a further chance of a mistake, and nearly all of what lies in the
wrong place is the other side's text, or English, or another large language.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_LARGE = "ar cs da de el en es fi fr hu it ja ko nl no pl pt ro ru sv tr uk zh"
CANDIDATES = frozenset(_LARGE.split())
"""Large languages that a text may turn out to be in, beside the two it should be in."""
_CLOSE = [frozenset(group.split()) for group in ("da nb nn no sv", "cs sk", "ca es gl pt", "af nl", "be bg mk ru uk")]
"""Languages whose sentences are too easily taken for each other's: a text is not looked for in these."""
_ENOUGH_LETTERS = 20
_ENOUGH_WORDS = 4
_LOOKED_AT = 400
_ENOUGH_TO_JUDGE = 120
"""Characters, before and after what is no prose goes; more of them make an answer dearer and hardly surer."""
# Tags, the keywords of ICU messages, and whatever holds signs or digits: of no language, or always of English.
_NO_WORDS = re.compile(
    r"<[^<>]*>|\{\s*\w+\s*,\s*\w+,|\w+(?=\s*\{)|\S*[@\\/_=:{}$%|\d]\S*|[^\W\d_]*[^\w\s'\u2019.,;!?()\"-][^\W\d_]*"
)

_FUNCTION_WORDS = {
    "cs": "a aby ale bez by co do for i jak je jeho ji jsou k kde ke na nebo není o od po pro při se si to tím už v ve však z za ze že",  # noqa: E501
    "da": "af at da de den der det du efter en er et for fra har hvis i ikke jeg kan med men når og om over på skal som til ved vil",  # noqa: E501
    "de": "aber als am an auch auf aus bei beim bis das dass dem den der des die dies diese dieser durch ein eine einem einen einer eines er es für hat ich ihr im in ist kann kein keine können mit nach nicht noch nur ob oder sich sie sind so über um und vom von vor war wenn werden wie wir wird wurde zu zum zur",  # noqa: E501
    "en": "a about all an and any are as at be been but by can do does for from had has have he his how i if in into is it its my no not of on one or our she should so than that the their them then there these they this to up use was we were what when which who will with would you your",  # noqa: E501
    "es": "a al como con cuando de del desde el ella en entre es esta este esto está fue ha hay la las le lo los más no o para pero por que se si sin sobre son su sus también un una y ya",  # noqa: E501
    "fr": "a au aux avec ce ces cette comme dans de des du elle en est et il ils je la le les leur mais n'est ne nous ou par pas plus pour qu qui que sa se ses si son sont sur un une vous à été être",  # noqa: E501
    "it": "a ai al alla anche che come con da dal dalla dei del della delle di e gli ha i il in la le lo ma nel nella non o per più quando questa questo se si sono su tra un una è",  # noqa: E501
    "nl": "aan als bij dat de deze die dit door een en er het hij ik in is je kan maar met naar niet nog of om ook op te tot u uit van voor was wat wordt worden ze zijn zo",  # noqa: E501
    "pl": "a aby albo ale bez być co czy dla do i ich jak jako jest jego jej lub ma może na nie o od oraz po pod przez przy się są tak tego to tym w we z za ze że",  # noqa: E501
    "pt": "a ao aos as com como da das de do dos e ela em entre este esta foi mais mas na nas no nos não o os ou para pela pelo por que se sem ser seu sua são também um uma é",  # noqa: E501
    "sv": "att av den det du efter eller en ett från för har i inte jag kan med men när och om på ska som så till under var vi vid är",  # noqa: E501
}
"""By language: its commonest words that are not names of anything; py3langid is asked where they leave doubt."""
_LANGUAGES_OF_WORD: dict[str, list[str]] = {}
for _language, _words in _FUNCTION_WORDS.items():
    for _word in _words.split():
        _LANGUAGES_OF_WORD.setdefault(_word, []).append(_language)


def seems_another_language(
    text: str, words: list[str], language: str, languages: tuple[str, str], confidence: float
) -> bool:
    """Whether a normalised text is in another than its `language`, one of the pair's `languages`, that confidently.

    Short texts are not judged, nor is a language that py3langid does not know.
    """
    if len(words) < _ENOUGH_WORDS or len(text) < _ENOUGH_LETTERS or not _in_doubt(words, language):
        return False
    prose = _NO_WORDS.sub(" ", text[:_LOOKED_AT]).split()
    if len(prose) < _ENOUGH_WORDS or sum(map(len, prose)) < _ENOUGH_LETTERS:
        return False
    identifier = _identifier(*languages)
    if language not in identifier.labels:
        return False
    found, certainty = identifier.classify(" ".join(prose)[:_ENOUGH_TO_JUDGE])
    return bool(found != language and certainty > confidence)


def _in_doubt(words: list[str], language: str) -> bool:
    """Whether a text has function words of another language, and no fewer than of its own."""
    if language not in _FUNCTION_WORDS:
        return True
    found = Counter(chain.from_iterable(_LANGUAGES_OF_WORD.get(word.lower(), ()) for word in words))
    own = found.pop(language, 0)
    return bool(found) and max(found.values()) >= own


@cache
def _identifier(source: str, target: str) -> LanguageIdentifier:
    """The identifier for a pair of languages, whose model is read once (1 s)."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    languages = {source, target}
    close = frozenset[str]().union(*(group for group in _CLOSE if group & languages))
    identifier.set_languages((CANDIDATES - close | languages) & set(identifier.labels))
    return identifier
