from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mtkd.errors import UsageError
from service.engines.echo import EchoEngine
from service.settings import Settings, available_cpus, cpu_quota, describe, load_settings, shown


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


def test_variables_of_other_commands_are_none_of_the_services_business(monkeypatch):
    for name in ("MTKD_CACHE", "MTKD_EVENTS", "MTKD_LOCKED"):
        monkeypatch.setenv(name, "1")
    assert load_settings().port == 8000


def test_a_secret_can_be_a_file_and_only_a_secret(monkeypatch, tmp_path):
    (tmp_path / "token").write_text("hush\n")
    monkeypatch.setenv("MTKD_METRICS_TOKEN_FILE", str(tmp_path / "token"))
    settings = load_settings()
    assert settings.metrics_token.get_secret_value() == "hush"
    assert "hush" not in str(shown(settings)) + repr(settings)
    monkeypatch.setenv("MTKD_METRICS_TOKEN", "other")
    with pytest.raises(UsageError, match="MTKD_METRICS_TOKEN is set too"):
        load_settings()
    monkeypatch.delenv("MTKD_METRICS_TOKEN")
    monkeypatch.setenv("MTKD_METRICS_TOKEN_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match=r"MTKD_METRICS_TOKEN_FILE: cannot read .*nowhere: No such file"):
        load_settings()
    monkeypatch.delenv("MTKD_METRICS_TOKEN_FILE")
    monkeypatch.setenv("MTKD_HOST_FILE", "x")
    with pytest.raises(UsageError, match="MTKD_HOST_FILE: unknown setting"):
        load_settings()


def test_a_list_is_separated_by_commas_and_an_empty_variable_is_none(monkeypatch):
    monkeypatch.setenv("MTKD_CORS_ORIGINS", "https://a.example, https://b.example,")
    assert load_settings().cors_origins == ("https://a.example", "https://b.example")
    monkeypatch.setenv("MTKD_CORS_ORIGINS", "")
    monkeypatch.setenv("MTKD_PORT", "")
    assert (load_settings().cors_origins, load_settings().port) == ((), 8000)
    assert load_settings(cors_origins="*").cors_origins == ("*",)


def test_every_setting_explains_itself_on_one_line():
    assert [setting.name for setting in describe()] == list(Settings.model_fields)
    for setting in describe():
        assert setting.help.endswith("."), setting.name
        assert setting.variable == f"MTKD_{setting.name.upper()}"
        assert setting.flag == f"--{setting.name.replace('_', '-')}"
    kinds = {setting.name: (setting.values, setting.default, setting.is_switch) for setting in describe()}
    assert kinds["log_format"] == ("text|json", "text", False)
    assert kinds["trusted_proxies"] == ("", "", False)
    assert kinds["threads"] == ("", "", False)


def table_row(setting) -> str:
    values = " (" + ", ".join(f"`{value}`" for value in setting.values.split("|")) + ")" if setting.values else ""
    default = f"`{setting.default}`" if setting.default else ""
    return f"| `{setting.variable}` | {default} | {setting.help}{values} |"


def test_the_table_of_the_documentation_is_the_model():
    page = (Path(__file__).parents[2] / "docs/service.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `MTKD_.*\|$", page, re.MULTILINE)
    assert rows == [table_row(setting) for setting in describe()]


def test_every_setting_is_a_flag_of_serve_and_a_flag_wins():
    serve = [sys.executable, "-m", "mtkd", "serve"]
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "200", "MTKD_PORT": "http"}
    shown_help = subprocess.run([*serve, "--help"], capture_output=True, text=True, env=environment, check=True).stdout
    assert all(f" {setting.flag} " in shown_help for setting in describe())
    flags = ["--port", "70000", "--log-format", "xml"]
    refused = subprocess.run([*serve, "x", *flags], capture_output=True, text=True, env=environment, check=False)
    assert refused.returncode == 2
    assert "port (MTKD_PORT): Input should be less than or equal to 65535" in refused.stderr
    assert "log_format (MTKD_LOG_FORMAT): Input should be 'text' or 'json'" in refused.stderr


def test_the_healthcheck_tells_whether_the_service_can_translate(serving):
    def check(port: int) -> tuple[int, str]:
        command = [sys.executable, "-m", "mtkd", "healthcheck"]
        everywhere = {"MTKD_HOST": "0.0.0.0", "MTKD_PORT": str(port)}  # noqa: S104
        environment = {"PYTHONPATH": str(Path(__file__).parents[2]), **everywhere}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        return done.returncode, done.stdout.strip()

    with serving(EchoEngine(), Settings()) as client:
        port = client.base_url.port
        assert check(port) == (0, "ready")
    code, message = check(port)
    assert code == 1
    assert message.startswith(f"no answer from 127.0.0.1:{port}")


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


def test_a_gpu_gets_one_batch_at_a_time_and_cpus_one_each():
    assert Settings(threads=6).workers == 6
    assert Settings(threads=6, device="cuda").workers == 1
