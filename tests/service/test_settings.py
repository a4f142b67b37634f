from __future__ import annotations

import os

import pytest

from mtkd.errors import UsageError
from service.settings import Settings, available_cpus, cpu_quota, load_settings


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch):
    for name in [name for name in os.environ if name.startswith("MTKD_")]:
        monkeypatch.delenv(name)


def test_defaults_need_no_environment():
    settings = load_settings()
    assert (settings.host, settings.port, settings.compute_type, settings.beam) == ("127.0.0.1", 8000, "int8", None)
    assert settings.threads == available_cpus()


def test_an_option_wins_over_the_environment_and_none_does_not(monkeypatch):
    monkeypatch.setenv("MTKD_PORT", "9001")
    monkeypatch.setenv("MTKD_BEAM", "3")
    settings = load_settings(port=9002, beam=None, host=None)
    assert (settings.port, settings.beam, settings.host) == (9002, 3, "127.0.0.1")


def test_all_problems_are_told_at_once_with_the_nearest_name(monkeypatch):
    monkeypatch.setenv("MTKD_MAX_TEXT_CHAR", "5")
    monkeypatch.setenv("MTKD_PORT", "http")
    monkeypatch.setenv("MTKD_COMPUTE_TYPE", "int4")
    with pytest.raises(UsageError) as error:
        load_settings(threads=0)
    message = str(error.value)
    assert "MTKD_MAX_TEXT_CHAR: unknown setting (did you mean MTKD_MAX_TEXT_CHARS?)" in message
    assert "MTKD_PORT" in message
    assert "'int8' or 'float32'" in message
    assert "threads (MTKD_THREADS): Input should be greater than or equal to 1" in message


def test_an_unknown_variable_alone_is_refused(monkeypatch):
    monkeypatch.setenv("MTKD_QQQ", "5")
    with pytest.raises(UsageError, match=r"MTKD_QQQ: unknown setting \(there are MTKD_HOST"):
        load_settings()


def test_a_keyword_that_is_no_setting_is_refused():
    with pytest.raises(UsageError, match="colour"):
        load_settings(colour="red")


def test_the_body_limit_leaves_room_for_the_longest_admitted_text():
    settings = Settings(max_text_chars=10_000, max_batch_texts=10_000)
    assert settings.max_body_bytes > len('"\\ud83d\\ude00", ') * 10_000


def test_cpu_quota_of_cgroup_v2(tmp_path):
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert cpu_quota(tmp_path) == 1.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cpu_quota(tmp_path) is None


def test_cpu_quota_of_cgroup_v1(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("400000\n")
    assert cpu_quota(tmp_path) == 4.0
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    assert cpu_quota(tmp_path) is None


def test_threads_are_at_least_one_and_at_most_the_quota(tmp_path):
    allowed = len(os.sched_getaffinity(0))
    assert available_cpus(tmp_path) == allowed
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert available_cpus(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("6400000 100000\n")
    assert available_cpus(tmp_path) == min(allowed, 64)
