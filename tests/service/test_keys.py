"""Keys: made once, stored as hashes, found, rotated, revoked; then the commands that do it."""

from __future__ import annotations

import re
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from typer.testing import CliRunner

from mtkd.cli import app
from mtkd.errors import UsageError
from service.keys import KeyStore


@pytest.fixture
def store(tmp_path):
    store = KeyStore(tmp_path)
    yield store
    store.close()


def stored_bytes(folder) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


def test_a_key_is_found_and_nothing_like_it(store):
    key = store.add("weblate", characters_per_month=1000, requests_per_minute=5)
    assert re.fullmatch(r"mtkd_[\w-]{43}", key)
    found = store.find(key)
    assert (found.name, found.characters_per_month, found.requests_per_minute) == ("weblate", 1000, 5)
    flipped = key[:-5] + ("A" if key[-5] != "A" else "B") + key[-4:]
    for other in (flipped, key[:-1], key + "A", key.upper(), key[5:], "", "mtkd_", "mtkd_" + "A" * 43):
        assert store.find(other) is None


@pytest.mark.parametrize("odd", ["mtkd_\ud800", "mtkd_" + "\u00e4" * 43, "mtkd_" + "x" * 1_000_000, "mtkd_\x00"])
def test_an_odd_string_is_no_key(store, odd):
    assert store.find(odd) is None


def test_no_two_keys_are_alike(store):
    assert len({store.add("same") for _ in range(20)}) == 20
    assert len({key.digest for key in store.all_keys()}) == 20


def test_neither_the_files_nor_a_repr_hold_the_key(store, tmp_path):
    key = store.add("weblate")
    found = store.find(key)
    assert key[13:] not in repr(found)
    assert repr(found.digest) not in repr(found)
    assert repr(found.pepper) not in repr(found)
    assert found.handle == key[:13]
    assert key[13:].encode() not in stored_bytes(tmp_path)
    assert found.handle.encode() in stored_bytes(tmp_path)


def test_only_the_owner_may_read_the_files(store, tmp_path):
    store.add("weblate")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_what_another_opener_does_is_seen_at_once(store, tmp_path):
    other = KeyStore(tmp_path)
    key = other.add("weblate")
    assert store.find(key) is not None
    other.revoke("weblate")
    assert store.find(key) is None
    other.close()


def test_a_rotation_keeps_both_keys_in_force_and_the_limits(store):
    old = store.add("weblate", characters_per_month=1000, requests_per_minute=7)
    new = store.add("weblate", requests_per_minute=9)
    assert store.find(old).requests_per_minute == 7
    assert (store.find(new).characters_per_month, store.find(new).requests_per_minute) == (1000, 9)
    (revoked,) = store.revoke(store.find(old).handle)
    assert revoked.handle == old[:13]
    assert store.find(old) is None
    assert store.find(new) is not None
    assert [key.revoked is not None for key in store.all_keys()] == [True, False]


def test_a_name_without_a_key_in_force_takes_over_no_limits(store):
    store.add("weblate", characters_per_month=1000)
    store.revoke("weblate")
    assert store.find(store.add("weblate")).characters_per_month is None


def test_revoking_what_is_not_there_is_refused(store):
    key = store.add("weblate")
    store.revoke("weblate")
    for unknown in ("weblate", key, "nobody"):
        with pytest.raises(UsageError, match="no such key") as error:
            store.revoke(unknown)
        assert key not in str(error.value)


@pytest.mark.parametrize("name", ["", "a b", "-x", "mtkd_abc", "a" * 65, "a\nb", "\u00e4"])
def test_a_name_that_is_none_is_refused(store, name):
    with pytest.raises(UsageError, match="a key's name is"):
        store.add(name)


def test_many_threads_find_add_and_revoke(store):
    keys = [store.add(f"client{number}") for number in range(8)]

    def use(number):
        for _ in range(20):
            assert store.find(keys[number]).name == f"client{number}"
        added = store.add(f"late{number}")
        assert store.find(added) is not None
        store.revoke(f"late{number}")
        return store.find(added)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(8))) == [None] * 8


def test_finding_is_quick_enough_for_the_event_loop(store):
    keys = [store.add(f"client{number}") for number in range(50)]
    store.find(keys[0])
    begun = time.perf_counter()
    for _ in range(200):
        store.find(keys[-1])
    assert (time.perf_counter() - begun) / 200 < 1e-3


def test_a_file_that_becomes_unreadable_locks_nobody_out(store, caplog):
    key = store.add("weblate")
    assert store.find(key) is not None
    store._connection.close()
    assert store.find(key) is not None
    assert store.find(key) is not None
    assert store.find("mtkd_" + "A" * 43) is None
    assert caplog.text.count("cannot be read") == 1
    assert key[13:] not in caplog.text


def test_a_folder_that_cannot_be_used_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage/keys.db").write_bytes(b"not a database at all" * 100)
    for folder, why in (("none", "No such file"), ("file", "Not a directory"), ("garbage", "not a database")):
        with pytest.raises(UsageError, match=rf"{folder}/keys.db: cannot be used: .*{why}.*; MTKD_DATA must name"):
            KeyStore(tmp_path / folder)


def test_a_file_of_another_format_is_refused(tmp_path):
    KeyStore(tmp_path).close()
    with sqlite3.connect(tmp_path / "keys.db") as connection:
        connection.execute("PRAGMA user_version=9")
    connection.close()
    with pytest.raises(UsageError, match="has format 9, this mtkd reads 1"):
        KeyStore(tmp_path)


def run(*arguments, code=0):
    result = CliRunner().invoke(app, ["keys", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_the_commands_add_list_and_revoke(tmp_path, monkeypatch, store):
    monkeypatch.setenv("MTKD_DATA", str(tmp_path))
    added = run("add", "weblate", "--characters-per-month", "1000000", "--requests-per-minute", "60")
    key = added.stdout.strip()
    assert store.find(key).characters_per_month == 1_000_000
    listed = run("list").stdout
    assert all(part in listed for part in ("weblate", key[:13], "1,000,000", "60"))
    assert key[13:] not in listed
    second = run("add", "weblate")
    assert "2 keys in force" in second.stderr
    assert f"mtkd keys revoke {key[:13]}" in second.stderr
    assert key[:13] in run("revoke", key[:13]).stdout
    assert store.find(key) is None
    assert store.find(second.stdout.strip()) is not None
    run("revoke", "weblate")
    assert store.find(second.stdout.strip()) is None


def test_the_commands_need_a_folder_and_sensible_limits(tmp_path, monkeypatch):
    monkeypatch.delenv("MTKD_DATA", raising=False)
    assert "--data" in run("list", code=2).output
    run("add", "weblate", "--data", tmp_path, "--characters-per-month", "0", code=2)
    assert list(tmp_path.iterdir()) == []
