from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.cache import SegmentCache, cache_key
from service.engines.base import Decoding

ONE, TWO = cache_key("m", 1, "one"), cache_key("m", 1, "two")


def test_what_was_put_is_found_and_counted():
    cache: SegmentCache[str] = SegmentCache(1000)
    cache.put(ONE, "eins", chars=4)
    assert (cache.get(ONE), cache.get(TWO)) == ("eins", None)
    assert (cache.hits, cache.misses) == (1, 1)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3000)), max_size=60))
def test_it_never_holds_more_characters_than_allowed(entries):
    cache: SegmentCache[int] = SegmentCache(4000)
    for name, chars in entries:
        cache.put(cache_key("m", 1, str(name)), chars, chars=chars)
    held = [chars for name in range(31) if (chars := cache.get(cache_key("m", 1, str(name)))) is not None]
    assert sum(held) <= 4000
    assert len(held) == len(cache)


def test_the_least_recently_used_goes_first():
    cache: SegmentCache[str] = SegmentCache(300)
    cache.put(ONE, "eins", chars=4)
    cache.put(TWO, "zwei", chars=4)
    assert cache.get(ONE) == "eins"
    cache.put(cache_key("m", 1, "three"), "drei", chars=4)
    assert (cache.get(ONE), cache.get(TWO)) == ("eins", None)


def test_zero_remembers_nothing():
    cache: SegmentCache[str] = SegmentCache(0)
    cache.put(ONE, "", chars=0)
    assert cache.get(ONE) is None


def test_model_options_and_segment_each_make_another_key():
    keys = {
        cache_key(digest, Decoding(beam=beam), segment)
        for digest in ("a", "b")
        for beam in (1, 2)
        for segment in ("x", "y")
    }
    assert len(keys) == 8


def test_a_key_holds_no_text():
    key = cache_key("m", Decoding(beam=1), "secret" * 100 + "\ud800")
    assert len(key) == 16
    assert b"secret" not in key
