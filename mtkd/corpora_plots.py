"""Length histograms as small inline SVG, one panel a group.

What it owns: where each bar and line goes. What it must not know: files, pages, colours (the page's style has them, so
that one picture suits light and dark). Why not one large figure: small ones of their own flow into as many columns as
the reader's screen has room for.
"""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from mtkd.corpus.statistics import BIN_WORDS, BINS, Lengths

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 210.0, 132.0, 28.0, 20.0, 112.0
_BAR = (_WIDTH - _LEFT) / (BINS + 1)
_TICKS = tuple(range(0, BIN_WORDS * BINS, 15))


def length_panels(lengths: Mapping[str, Mapping[str, Lengths]]) -> dict[str, Markup]:
    """Group -> histogram of its sentences' lengths: bars for the source, a line for the target, one scale for all.

    `lengths` maps group -> language (source first) -> lengths.
    """
    highest = max(max(_shares(one)) for of in lengths.values() for one in of.values())
    return {group: _panel(group, of, highest) for group, of in lengths.items()}


def _panel(group: str, lengths: Mapping[str, Lengths], highest: float) -> Markup:
    source, target = lengths.values()
    medians = ", ".join(f"{language} median {of.median}, mean {of.mean:.1f} words" for language, of in lengths.items())
    middle = f"median {source.median} / {target.median}"
    parts = [
        Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            f"{_WIDTH:g}", f"{_HEIGHT:g}", f"Sentence lengths of {group}: {medians}."
        ),
        Markup('<text x="0" y="11" class="title">{}</text>').format(group),
        Markup('<text x="{:g}" y="11" text-anchor="end">{}</text>').format(_WIDTH, middle),
        Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
            f"{_LEFT - 4:g}", f"{_TOP + 8:g}", f"{highest:.0%}"
        ),
        Markup('<path class="axis" d="M{:g} {:g}H{:g}M{:g} {:g}H{:g}"/>').format(
            _LEFT, _TOP, _WIDTH, _LEFT, _BOTTOM, _WIDTH
        ),
        Markup('<path class="source" d="{}"/>').format(_bars(source, highest)),
        Markup('<path class="target" d="{}"/>').format(_steps(target, highest)),
    ]
    ticks = [(words / BIN_WORDS, str(words)) for words in _TICKS] + [(BINS - 0.2, f"{BIN_WORDS * BINS}+")]
    for place, words in ticks:
        x = f"{_LEFT + place * _BAR:.1f}"
        parts.append(Markup('<text x="{}" y="{:g}" text-anchor="middle">{}</text>').format(x, _HEIGHT - 6, words))
    return Markup("").join([*parts, Markup("</svg>")])


def _shares(lengths: Lengths) -> list[float]:
    return [count / lengths.sentences for count in lengths.bins]


def _height(share: float, highest: float) -> str:
    return f"{_BOTTOM - (_BOTTOM - _TOP) * share / highest:.1f}"


def _bars(lengths: Lengths, highest: float) -> str:
    return "".join(
        f"M{_LEFT + place * _BAR:.1f} {_BOTTOM:g}V{_height(share, highest)}h{_BAR - 1:.1f}V{_BOTTOM:g}z"
        for place, share in enumerate(_shares(lengths))
        if share
    )


def _steps(lengths: Lengths, highest: float) -> str:
    steps = (
        f"V{_height(share, highest)}H{_LEFT + (place + 1) * _BAR:.1f}" for place, share in enumerate(_shares(lengths))
    )
    return f"M{_LEFT:g} {_BOTTOM:g}{''.join(steps)}V{_BOTTOM:g}"
