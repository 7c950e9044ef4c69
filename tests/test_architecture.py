"""The house keeps its shape: layers, captions, sizes, and what mathematics may import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "sandbox").rglob("*.py"))
LAYERS = [
    "types", "tree", "data", "losses", "regularizers", "models", "problems", "optimizers", "store", "engine",
    "parity", "sweeps", "theory", "landscape", "report", "lookup", "reproduction", "binding", "drawing", "terrain",
    "cli", "__main__",
]  # fmt: skip
FORBIDDEN = {  # (importer, imported) that the order alone would allow
    ("optimizers", "problems"), ("theory", "store"), ("landscape", "store"),
    *(("report", name) for name in ("engine", "sweeps", "optimizers", "problems", "models", "parity", "landscape")),
}  # fmt: skip
MATHEMATICS = ("losses", "regularizers", "models", "problems", "optimizers", "theory", "landscape")


def layer(path):
    return path.relative_to(ROOT / "sandbox").parts[0].removesuffix(".py")


def imports(path):
    """Every module that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inner(path):
    """The layers of this package that a file imports."""
    names = {name.split(".")[1] for name in imports(path) if name.startswith("sandbox.")}
    return names & set(LAYERS)


def test_every_file_has_a_layer():
    assert {layer(path) for path in FILES} - {"__init__"} <= set(LAYERS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file(path):
    text = path.read_text()
    tree = ast.parse(text)
    caption = ast.get_docstring(tree)
    assert caption, "opens with a caption"
    assert caption.splitlines()[0].endswith((".", ":", ";")) or len(caption.splitlines()) > 1, (
        "the caption is a sentence"
    )
    assert len(text.splitlines()) <= 400
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} is longer than 60 lines"
    mine = layer(path)
    if mine in LAYERS:
        above = LAYERS[: LAYERS.index(mine) + 1]
        assert inner(path) <= set(above), f"imports from below: {inner(path) - set(above)}"
        assert not {(mine, other) for other in inner(path)} & FORBIDDEN
    if mine in MATHEMATICS:
        assert not {name.split(".")[0] for name in imports(path)} & {"os", "json", "time", "matplotlib"}
    if mine != "parity":
        records = {"GradientTransformationExtraArgs", "with_extra_args_support", "MaskedNode", "ScheduleFreeState"}
        assert {name.rpartition(".")[2] for name in imports(path) if name.startswith("optax")} <= records | {
            "optax",
            "contrib",
        }


def test_no_array_is_made_and_no_backend_started_by_an_import():
    """So that `use_all_cores` still has a say after every module was imported."""
    modules = [str(p.relative_to(ROOT).with_suffix("")).replace("/", ".") for p in FILES if p.stem not in ("__main__",)]
    names = [name.removesuffix(".__init__") for name in modules]
    code = f"import {', '.join(names)}; from jax._src import xla_bridge; print(xla_bridge.backends_are_initialized())"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"


def test_importing_sandbox_is_free_and_the_engine_brings_nothing_heavy():
    code = "import sys, {}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    loaded = lambda module: set(
        subprocess.run(
            [sys.executable, "-c", code.format(module)], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    assert not loaded("sandbox") & {"jax", "numpy"}
    heavy = {"optax", "flax", "matplotlib", "sklearn", "xarray", "pandas", "zarr", "typer", "rich", "chex"}
    assert not loaded("sandbox.engine") & heavy
    assert not loaded("sandbox.optimizers, sandbox.problems, sandbox.sweeps, sandbox.theory") & heavy


def tree():
    """The files and their captions, in the order of the layers."""
    paths = sorted(FILES, key=lambda p: (LAYERS.index(layer(p)) if layer(p) in LAYERS else -1, p.parent != p, str(p)))
    rows = [(str(p.relative_to(ROOT)), ast.get_docstring(ast.parse(p.read_text())).partition("\n")[0]) for p in paths]
    width = max(len(name) for name, _ in rows)
    return "```\n" + "".join(f"{name:{width}}  {caption}\n" for name, caption in rows) + "```\n"


def test_the_tree_in_the_readme_is_made_of_the_captions():
    shown = (ROOT / "README.md").read_text().partition("<!-- tree -->\n")[2].partition("<!-- /tree -->")[0]
    assert shown == tree(), "run `python tests/test_architecture.py`"


def test_the_example_in_the_readme_runs():
    code = (ROOT / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.count("\n") >= 16


def test_the_project_speaks_of_itself_alone():
    """No machine's paths and no index's hosts in any file that is kept."""
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in kept:
        path = ROOT / name
        if (
            path.suffix in {".py", ".md", ".toml", ".txt", ".json", ".csv"}
            and path.is_file()
            and path != Path(__file__)
        ):
            text = path.read_text()
            assert "/home/" not in text, name
            assert "/tmp/" not in text, name


if __name__ == "__main__":
    readme = ROOT / "README.md"
    before, mark, rest = readme.read_text().partition("<!-- tree -->\n")
    readme.write_text(before + mark + tree() + "<!-- /tree -->" + rest.partition("<!-- /tree -->")[2])
