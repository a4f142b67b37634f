"""Usage: months, quotas, what survives a kill, what happens when the disk refuses."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta, timezone

import pytest

from mtkd.errors import UsageError
from service.usage import Month, UsageLog

NOW = Month.of(datetime.now(UTC))


@pytest.fixture
def usage(tmp_path):
    usage = UsageLog(tmp_path)
    yield usage
    usage.close()


def rows(folder) -> list[tuple]:
    with closing(sqlite3.connect(folder / "usage.db")) as connection:
        return connection.execute("SELECT * FROM usage ORDER BY month, client").fetchall()


def reserve(usage, client="weblate", *, characters=10, texts=1, quota=None, month=NOW):
    return usage.reserve(client, month=month, texts=texts, characters=characters, characters_per_month=quota)


def charge(usage, *args, **kwargs) -> None:
    asyncio.run(usage.charge([reserve(usage, *args, **kwargs)]))


@contextmanager
def a_disk_that_refuses():
    """Any write to a file fails, as on a full disk (EFBIG instead of ENOSPC)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_charge_is_on_disk_when_it_is_done(usage, tmp_path):
    charge(usage, characters=10, texts=2)
    charge(usage, characters=5)
    charge(usage, "", characters=7)
    assert rows(tmp_path) == [(NOW.name, "", 1, 1, 7), (NOW.name, "weblate", 2, 3, 15)]


def test_a_new_process_goes_on_counting(usage, tmp_path):
    charge(usage, characters=10)
    later = UsageLog(tmp_path)
    assert later.used("weblate", NOW) == 10
    assert reserve(later, characters=6, quota=15) is None
    charge(later, characters=5, quota=15)
    later.close()
    charge(usage, characters=1)
    assert usage.used("weblate", NOW) == 16, "what another process counted meanwhile is seen at the next charge"


def test_what_is_in_flight_counts_and_what_failed_does_not(usage, tmp_path):
    first = reserve(usage, characters=60, quota=100)
    assert reserve(usage, characters=41, quota=100) is None
    usage.release(first)
    assert usage.used("weblate", NOW) == 0
    charge(usage, characters=100, quota=100)
    assert reserve(usage, characters=1, quota=100) is None
    assert reserve(usage, characters=0, quota=100) is not None
    assert rows(tmp_path) == [(NOW.name, "weblate", 1, 1, 100)]


def test_a_crowd_is_not_let_in_for_more_than_the_quota(usage, tmp_path):
    async def ask(pool):
        reserved = await asyncio.get_running_loop().run_in_executor(
            pool, lambda: reserve(usage, characters=7, quota=350)
        )
        if reserved is not None:
            await usage.charge([reserved])
        return reserved is not None

    async def crowd():
        with ThreadPoolExecutor(16) as pool:
            return await asyncio.gather(*(ask(pool) for _ in range(200)))

    assert sum(asyncio.run(crowd())) == 50
    assert rows(tmp_path) == [(NOW.name, "weblate", 50, 50, 350)]
    assert usage.used("weblate", NOW) == 350


def test_a_month_begins_anew_and_a_late_charge_goes_to_its_own(usage, tmp_path):
    next_month = Month.of(NOW.end)
    late = reserve(usage, characters=90, quota=100)
    charge(usage, "old", characters=1)
    assert reserve(usage, characters=90, quota=100, month=next_month) is not None
    asyncio.run(usage.charge([late]))
    assert rows(tmp_path) == [(NOW.name, "old", 1, 1, 1), (NOW.name, "weblate", 1, 1, 90)]
    assert usage.used("weblate", next_month) == 90
    usage.used("other", next_month)
    assert {row.month for row in usage._stored} <= {NOW.name, next_month.name}
    assert "old" not in {row.client for row in usage._stored}


def test_months_are_utc():
    tokyo = datetime(2027, 1, 1, 8, 59, tzinfo=timezone(timedelta(hours=9)))
    month = Month.of(tokyo)
    assert (month.name, month.end) == ("2026-12", datetime(2027, 1, 1, tzinfo=UTC))
    assert Month.of(month.end).name == "2027-01"
    assert Month.of(datetime(2028, 2, 29, tzinfo=UTC)).end == datetime(2028, 3, 1, tzinfo=UTC)


def test_a_disk_that_refuses_stops_nothing_and_loses_nothing(usage, tmp_path, caplog):
    caplog.set_level("INFO")

    async def go_on():
        await usage.charge([reserve(usage, characters=1)])
        begun = time.monotonic()
        with a_disk_that_refuses():
            for _ in range(20):
                await usage.charge([reserve(usage, characters=10, quota=1000)])
            assert usage.used("weblate", NOW) == 201
            assert reserve(usage, characters=800, quota=1000) is None, "quotas hold meanwhile"
        assert time.monotonic() - begun < 1, "nobody waits for the disk"
        assert rows(tmp_path) == [(NOW.name, "weblate", 1, 1, 1)]
        await until(lambda: rows(tmp_path) == [(NOW.name, "weblate", 21, 21, 201)])
        await usage.charge([reserve(usage, characters=4)])

    asyncio.run(go_on())
    assert rows(tmp_path) == [(NOW.name, "weblate", 22, 22, 205)]
    assert caplog.text.count("cannot be written") == 1
    assert caplog.text.count("can be written again") == 1
    assert usage.used("weblate", NOW) == 205


def test_a_file_locked_by_another_process_stops_nothing(usage, tmp_path, caplog):
    async def go_on():
        with closing(sqlite3.connect(tmp_path / "usage.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await usage.charge([reserve(usage, characters=3)])
            assert "locked" in caplog.text
            other.execute("COMMIT")
        await until(lambda: rows(tmp_path) == [(NOW.name, "weblate", 1, 1, 3)])

    asyncio.run(go_on())


def test_a_client_that_leaves_takes_nobody_along(usage, tmp_path):
    async def leave():
        leaving = [asyncio.create_task(usage.charge([reserve(usage, characters=1)])) for _ in range(10)]
        staying = [asyncio.create_task(usage.charge([reserve(usage, characters=1)])) for _ in range(10)]
        await asyncio.sleep(0)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*staying)

    asyncio.run(leave())
    assert rows(tmp_path) == [(NOW.name, "weblate", 20, 20, 20)]


def test_what_is_never_written_is_said_at_the_end(tmp_path, caplog):
    usage = UsageLog(tmp_path)
    with a_disk_that_refuses():
        charge(usage, characters=12)
        usage.close()
    assert "characters not counted: 12" in caplog.text


def test_a_full_disk_at_the_start_is_refused(tmp_path):
    with a_disk_that_refuses(), pytest.raises(UsageError, match=r"usage.db: cannot be used: .*a disk with room"):
        UsageLog(tmp_path)


def test_closing_writes_what_waits(tmp_path):
    usage = UsageLog(tmp_path)
    with a_disk_that_refuses():
        charge(usage, characters=12)
    usage.close()
    assert rows(tmp_path) == [(NOW.name, "weblate", 1, 1, 12)]


def test_many_charges_are_few_writes(usage, tmp_path):
    async def crowd():
        await asyncio.gather(*(usage.charge([reserve(usage, characters=1)]) for _ in range(500)))

    written = []
    usage._connection.set_trace_callback(written.append)
    asyncio.run(crowd())
    assert rows(tmp_path) == [(NOW.name, "weblate", 500, 500, 500)]
    assert written.count("COMMIT") <= 3


async def until(is_so) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
