"""The command line as a person meets it: in a process of its own, on a small text."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mtkd import __version__, cli, pipeline
from mtkd.errors import MtkdError
from mtkd.evaluation import EvaluationInputs, evaluate
from mtkd.pipeline import open_workspace
from mtkd.processes import thread_environment
from mtkd.recipe_file import load_recipe
from mtkd.workspace import write_json
from tests.unit.corpus_text import write_tsv
from tests.unit.workflow_recipe import write_recipe

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run_split(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder with a recipe, in which `mtkd run --until split` has run."""
    folder = tmp_path_factory.mktemp("cli")
    write_recipe(folder)
    return folder, mtkd(folder, "run", "recipe.yaml", "--until", "split", "--cores", "1")


def mtkd(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run `mtkd` in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "mtkd", *args],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def children_cpu_s() -> float:
    """CPU seconds of all processes waited for; unlike the clock, not the business of whoever else is at work."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@contextlib.contextmanager
def cleaning(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """`mtkd run --until clean` on a text that takes seconds, once the step has started."""
    write_recipe(folder)
    rows = ([f"some words {i}", f"einige Worte {i}"] for i in range(200_000))
    write_tsv(folder / "text" / "it.tsv", rows)
    with subprocess.Popen(
        [sys.executable, "-m", "mtkd", "run", "recipe.yaml", "--until", "clean"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "[clean] started\n"
        yield process


def pid_of_clean(folder: Path) -> int:
    lock = next((folder / "runs" / "demo" / "steps" / "clean").glob("*/.lock"))
    return int(lock.read_text(encoding="ascii"))


def test_run_makes_the_steps_in_order_and_shows_them(
    run_split: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    _, result = run_split
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if "done in" in line or "started" in line]
    assert [line.split(" in ")[0] for line in lines] == [
        "[clean] started",
        "[clean] done",
        "[split] started",
        "[split] done",
    ]


def test_a_second_run_does_nothing_and_is_quick(run_split: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = run_split
    before = (folder / "runs/demo/snakemake.log").stat().st_mtime_ns
    start_s = children_cpu_s()
    result = mtkd(folder, "run", "recipe.yaml", "--until", "split")
    assert children_cpu_s() - start_s < 2
    assert result.stdout == "nothing to do: all 2 steps are done\n"
    assert (folder / "runs/demo/snakemake.log").stat().st_mtime_ns == before


def test_status_tells_done_from_not_done(run_split: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = run_split
    lines = mtkd(folder, "status", "recipe.yaml").stdout.splitlines()
    rows = {line.split()[1]: line for line in lines if line.startswith("│")}
    assert "│ done " in rows["split"]
    assert "would run: not made yet" in rows["subword"]
    assert "would run: waits for" in rows["student"]
    assert lines[-1].startswith("19 of 21 steps are not done; workspace: ")


def test_dry_run_tells_what_a_changed_recipe_would_do(
    run_split: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = run_split
    args = ("run", "recipe.yaml", "--until", "split", "--dry-run")
    assert "0 of 2 steps are not done" in mtkd(folder, *args).stdout
    assert "1 of 2 steps are not done" in mtkd(folder, *args, "--set", "domains.it.split.dev=0.1").stdout
    forced = mtkd(folder, *args, "--force", "clean").stdout
    assert "would run: asked for by --force" in forced
    assert "would run: clean has to be made first" in forced


def test_only_what_was_deleted_is_made_again(run_split: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = run_split
    next((folder / "runs/demo/steps/split").glob("*/it/train.en")).unlink()
    args = ("run", "recipe.yaml", "--until", "split")
    assert "would run: it/train.en is missing" in mtkd(folder, *args, "--dry-run").stdout
    result = mtkd(folder, *args)
    assert result.returncode == 0
    assert "[split] done" in result.stdout
    assert "[clean]" not in result.stdout


def test_a_failed_step_exits_1_with_its_message_and_log(tmp_path: Path) -> None:
    write_recipe(tmp_path)
    (tmp_path / "text" / "it.tsv").write_bytes(b"src\ttgt\ncaf\xe9\tb\n")
    result = mtkd(tmp_path, "run", "recipe.yaml", "--until", "split")
    assert result.returncode == 1
    assert "not UTF-8" in result.stdout
    log = next(line for line in result.stdout.splitlines() if "[clean] log: " in line).split("log: ")[1]
    assert Path(log).is_file()
    assert "the same command continues" in result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert "[split]" not in result.stdout


def test_an_interrupted_run_leaves_no_process_and_exits_130(tmp_path: Path) -> None:
    with cleaning(tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "the same command continues" in error
    assert not Path(f"/proc/{pid_of_clean(tmp_path)}").exists()


def test_a_killed_step_is_told_and_would_continue(tmp_path: Path) -> None:
    with cleaning(tmp_path) as process:
        os.kill(pid_of_clean(tmp_path), signal.SIGKILL)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "[clean] error: ended without a word: was it killed, or the memory full?" in output
    assert "continues where it stopped" in mtkd(tmp_path, "status", "recipe.yaml").stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["run", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["run", "recipe.yaml", "--until", "studnt"], "no step 'studnt' (did you mean 'student'?)"),
        (["check", "recipe.yaml", "--set", "distil.top_k=3"], "unknown key 'distil' (did you mean 'distill'?)"),
        (["step", "split", "--recipe", "recipe.yaml", "--workspace", "w"], "step 'split' needs clean first"),
        (["fly"], "No such command 'fly'"),
        (["run"], "Missing argument 'RECIPE'"),
    ],
)
def test_wrong_use_exits_2_with_one_message(tmp_path: Path, args: list[str], message: str) -> None:
    write_recipe(tmp_path, rows=5)
    result = mtkd(tmp_path, *args)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_check_lists_facts_or_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_recipe(tmp_path)
    monkeypatch.chdir(tmp_path)
    good = CliRunner().invoke(cli.app, ["check", str(path)])
    assert good.exit_code == 0, good.output
    bad = CliRunner().invoke(cli.app, ["check", str(path), "--set", "domains.it.split.minimum=500"])
    assert bad.exit_code == 1


def test_a_step_by_hand_says_when_it_fails(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    args = ["step", "clean", "--recipe", str(path), "--workspace", str(tmp_path / "w")]
    # The step sets the thread variables of its process; naming them here has click put back this one's.
    runner = CliRunner(env=thread_environment(1))
    assert runner.invoke(cli.app, args).exit_code == 0
    (tmp_path / "text" / "it.tsv").write_bytes(b"")
    failed = runner.invoke(cli.app, args)
    assert failed.exit_code == 1
    assert "[clean] error: " in failed.output
    assert "the file is empty" in failed.output


def test_help_and_version_are_quick(tmp_path: Path) -> None:
    start_s = children_cpu_s()
    result = mtkd(tmp_path, "--help")
    assert children_cpu_s() - start_s < 1
    assert result.returncode == 0
    for command in ("check", "run", "step", "status", "export", "translate", "serve"):
        assert f"\n  {command} " in result.stdout
    assert mtkd(tmp_path, "--version").stdout == f"mtkd {__version__}\n"


def test_a_finished_run_prints_scores_paths_and_what_comes_next(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, rows=5)
    place = open_workspace(load_recipe(path), tmp_path / "w")
    sentences = {name: ["the light is on"] * 20 for name in ("it", "religion")}
    models = ("generic", "mixed", "teacher.it", "teacher.religion", "student")
    systems = ["generic", "mixed", "teachers", "student"]
    results = evaluate(
        EvaluationInputs(
            hypotheses=dict.fromkeys(models, sentences),
            references=sentences,
            domains=list(sentences),
            systems=systems,
            target_lang="de",
            seed=1,
            resamples=10,
        )
    )
    for name in place.plan.nodes:
        place.begin(name)
        if name == "report":
            write_json(place.dir(name) / "results.json", {"results": results})
        place.finish(name)
    result = mtkd(tmp_path, "run", "recipe.yaml", "--workspace", "w")
    assert result.returncode == 0, result.stderr
    assert "nothing to do: all 21 steps are done" in result.stdout
    for line in ("│ student ", "BLEU", "chrF", "report: w/report/index.html", "bundle: w/bundle"):
        assert line in result.stdout
    assert "next: mtkd serve w/bundle\n      curl -s localhost:8000/translate" in result.stdout
    assert (tmp_path / "w" / "report" / "results.json").is_file()


def test_translate_keeps_lines_and_their_ends(tmp_path: Path) -> None:
    script = ROOT / "tests" / "service" / "tiny_bundle.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, script, tmp_path / "bundle", "0"], env=environment, check=True, capture_output=True)
    command = [sys.executable, "-m", "mtkd", "translate", str(tmp_path / "bundle"), "--compute-type"]
    source = b"The printer.\n\nPlease.\r\n"
    result = subprocess.run([*command, "float32"], input=source, env=environment, capture_output=True, check=True)
    lines = result.stdout.decode().split("\n")
    assert len(lines) == 4
    assert lines[1] == ""
    assert lines[2].endswith("\r")
    bad = subprocess.run([*command, "int8"], input=b"caf\xe9\n", env=environment, capture_output=True, check=False)
    assert bad.returncode == 1
    assert b"standard input is not UTF-8 (byte 0xe9)" in bad.stderr


def test_a_missing_package_names_the_extra_to_install() -> None:
    program = (
        "import sys; sys.modules['uvicorn'] = None; from mtkd.cli import main; sys.argv[1:] = ['serve', '.']; main()"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: 'uvicorn' is not installed: pip install ")


def test_a_hopeless_run_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(write_recipe(tmp_path, rows=5))
    place = open_workspace(recipe, tmp_path / "w")
    monkeypatch.setattr(pipeline, "free_bytes", lambda _: 10)
    with pytest.raises(MtkdError, match="GB needed, 10 bytes free: free some, or choose another --workspace"):
        pipeline.refuse_hopeless(recipe, place, pipeline.select(place))


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    for command in ("serve", "translate"):
        result = mtkd(tmp_path, command, ".")
        assert result.returncode == 1
        assert "not a bundle (no manifest.json)" in result.stderr
