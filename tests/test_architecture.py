"""The house stands as DESIGN.md draws it: imports go downwards, what should be light is light, files are short."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS: list[set[str]] = [
    {"errors", "presets", "bundle", "recipe_text", "recipe", "processes", "progress"},
    {"corpus", "distill"},
    {"recipe_yaml", "recipe_file", "graph", "plan_texts", "systems", "plan", "workspace", "archive_lock", "context"},
    {"commands"},
    {"fairseq_plugin", "fairseq_model", "checkpoint", "train", "teacher", "capture", "decoding", "export"}
    | {"ensemble", "routing"}
    | {"scoring", "comparisons", "evaluation", "robustness", "findings", "plots", "report", "report_tables"}
    | {"sentences", "sentence_tables"}
    | {"corpora_page", "corpora_plots", "html_page"}
    | {"sweep", "sweep_findings", "experiment_page", "experiment_tables"},
    {"steps"},
    {"runner", "check", "pipeline", "estimate", "bench", "init_template", "init_recipe", "time_budget", "experiment"}
    | {"cli", "cli_bench", "cli_bench_serve", "cli_corpora", "cli_experiment", "cli_keys", "cli_serve", "cli_store"}
    | {"__main__"},
]
"""The rooms of mtkd from the lowest up; a room may import from its own layer and from those before it."""
LIGHT = [
    "mtkd.cli",
    "mtkd.pipeline",
    "mtkd.runner",
    "mtkd.check",
    "mtkd.recipe_file",
    "mtkd.capture",
    "mtkd.steps",
    "service.app",
]
MAX_LINES = 300


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for room in ("mtkd", "service") for path in sorted((ROOT / room).rglob("*.py"))}


def imports_of(module: str) -> set[str]:
    """Everything a module imports, inside functions too; of our own, the modules themselves."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import in line {node.lineno}"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update({name for name in names if name in MODULES} or {str(node.module)})
    return found


def room(module: str) -> str:
    """`mtkd.corpus.clean` is in the room `corpus`."""
    return module.split(".")[1] if "." in module else ""


def ours(module: str, package: str) -> set[str]:
    return {name for name in imports_of(module) if name == package or name.startswith(f"{package}.")}


def test_every_room_of_mtkd_has_its_layer() -> None:
    rooms = {room(module) for module in MODULES if module.startswith("mtkd.")}
    assert rooms == set().union(*LAYERS)


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith("mtkd.")])
def test_imports_go_downwards(module: str) -> None:
    height = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    upwards = {name for name in ours(module, "mtkd") - {"mtkd"} if height[room(name)] > height[room(module)]}
    assert upwards == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: imports_of(module) & MODULES.keys() - {module} for module in MODULES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith("service")])
def test_the_service_knows_of_mtkd_only_bundles_and_errors(module: str) -> None:
    assert ours(module, "mtkd") <= {"mtkd", "mtkd.bundle", "mtkd.errors"}


def test_only_the_command_line_and_what_measures_it_know_the_service() -> None:
    know = {module for module in MODULES if module.startswith("mtkd") and ours(module, "service")}
    assert know == {"mtkd.cli", "mtkd.cli_keys", "mtkd.cli_serve", "mtkd.bench.serve_offline"}


@pytest.mark.parametrize(("folder", "unwanted"), [("corpus", {"torch", "fairseq"}), ("distill", {"fairseq"})])
def test_lower_rooms_know_no_fairseq(folder: str, unwanted: set[str]) -> None:
    imported = {name.split(".")[0] for module in MODULES if room(module) == folder for name in imports_of(module)}
    assert imported.isdisjoint(unwanted | {"fairseq_cli"})


def test_the_bundle_needs_the_standard_library_only() -> None:
    imported = {name.split(".")[0] for name in imports_of("mtkd.bundle")}
    assert imported <= sys.stdlib_module_names | {"mtkd"}


def test_light_modules_import_neither_torch_nor_fairseq() -> None:
    light = [*LIGHT, *(module for module in MODULES if room(module) == "corpus" and module.startswith("mtkd"))]
    program = (
        f"import sys, {', '.join(light)}\nprint([m for m in ('torch', 'fairseq', 'snakemake') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("[]\n", "")


@pytest.mark.parametrize("module", MODULES)
def test_files_are_short_and_say_what_they_own(module: str) -> None:
    text = MODULES[module].read_text(encoding="utf-8")
    assert text.count("\n") <= MAX_LINES
    assert ast.get_docstring(ast.parse(text))


def test_no_module_is_named_like_an_installed_package() -> None:
    # fairseq puts the folder above its --user-dir, mtkd/, first on sys.path.
    names = {path.stem for path in (ROOT / "mtkd").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    taken = sys.stdlib_module_names | packages_distributions().keys()
    assert names & taken - {"__init__", "__main__"} == set()
