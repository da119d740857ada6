"""The project as a package: what is declared is what is there, and imports run one way."""

import ast
import importlib.metadata
import importlib.util
import os
import runpy
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import edgecloud.cli

ROOT = Path(__file__).parent.parent
NOT_PACKAGES = {"tests", "benchmarks", "docs", "examples"}
RANK = {  # modules beside the packages (errors, settings, …) come first: see rank()
    "traces": 1,
    "pricing": 1,
    "profiles": 1,
    "envs": 2,
    "baselines": 3,
    "agents": 3,
    "evaluation": 4,
    "runtime": 5,
    "cli": 6,
}


PROFILES_RANK = {  # inside profiles; "": the modules beside its packages
    "": 0,
    "images": 1,
    "networks": 2,
    "privacy": 3,
    "measuring": 4,
    "machines": 5,
    "profiler": 5,
}

MODULES = {path.stem for path in (ROOT / "src" / "edgecloud").glob("*.py")} - {"__init__", "__main__"}


def rank(part: str) -> int | None:
    """Place of a package or of a module beside the packages in the order of imports; None if it has none."""
    return 0 if part in MODULES else RANK.get(part)


def settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def declared() -> dict[str, Path]:
    """Package name to its folder, as pyproject.toml says."""
    tool = settings()["tool"]["setuptools"]
    assert sorted(tool["packages"]) == sorted(tool["package-dir"])
    return {name: ROOT / folder for name, folder in tool["package-dir"].items()}


def test_declared_packages_are_the_folders() -> None:
    on_disk = {path.parent for path in ROOT.glob("*/__init__.py") if path.parent.name not in NOT_PACKAGES}
    on_disk |= {path.parent for folder in on_disk for path in folder.rglob("__init__.py")}
    on_disk |= {path.parent for path in (ROOT / "src").rglob("__init__.py")}
    assert set(declared().values()) == on_disk


def test_doctests_cover_every_package() -> None:
    tree = ast.parse((ROOT / "tests" / "test_doctests.py").read_text(encoding="utf-8"))
    assignment = next(
        node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PACKAGES"
    )
    assert ast.literal_eval(assignment.value) == sorted(declared())


def test_package_data_globs_match_the_data_files() -> None:
    globs = settings()["tool"]["setuptools"]["package-data"]
    shipped: set[Path] = set()
    for package, patterns in globs.items():
        for pattern in patterns:
            matches = {path for path in declared()[package].glob(pattern) if path.is_file()}
            assert matches, f"{package}: {pattern} matches nothing"
            shipped |= matches
    folders = [folder for name, folder in declared().items() if name != "edgecloud"] + [ROOT / "src" / "edgecloud"]
    ignored = {".py", ".pyc", ".nbi", ".nbc"}
    data = {path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix not in ignored}
    assert data - shipped == set()


def test_train_py_is_edgecloud_train(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def main(argv: list[str]) -> int:
        seen.append(list(argv))
        return 7

    monkeypatch.setattr(edgecloud.cli, "main", main)
    monkeypatch.setattr(sys, "argv", ["train.py", "--env", "edgecloud-v0", "--seed", "3"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    assert caught.value.code == 7
    assert seen == [["train", "--env", "edgecloud-v0", "--seed", "3"]]


def test_installed_metadata_matches_the_project() -> None:
    project = settings()["project"]
    distribution = importlib.metadata.distribution("edgecloud")
    assert distribution.version == project["version"]
    scripts = {entry.name: entry.value for entry in distribution.entry_points.select(group="console_scripts")}
    assert scripts == project["scripts"]


def test_constraints_pin_every_direct_dependency() -> None:
    project = settings()["project"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert pins["torch"] == "2.13.0"
    for requirement in [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]:
        name = requirement.split(">")[0].split("[")[0].strip().lower().replace("_", "-")
        assert name in pins or name == "edgecloud", f"{name} has no pin in constraints.txt"


def imported_packages(path: Path, package: str) -> set[str]:
    """The parts of edgecloud ('traces', 'errors', …) that a file imports, at whatever depth of the code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("edgecloud.")}
        elif isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            target = importlib.util.resolve_name(name, package) if node.level else name
            if target == "edgecloud":
                found |= {alias.name for alias in node.names if alias.name in RANK or alias.name in MODULES}
            elif target.startswith("edgecloud."):
                found.add(target.split(".")[1])
    return found


def import_edges() -> dict[tuple[str, str], Path]:
    edges: dict[tuple[str, str], Path] = {}
    for package, folder in declared().items():
        part = package.partition(".")[2].partition(".")[0]
        if not part:
            for name in MODULES:
                path = folder / f"{name}.py"
                edges.update({(name, other): path for other in imported_packages(path, package)})
            continue
        for path in folder.rglob("*.py"):
            inner = ".".join((package, *path.relative_to(folder).parent.parts))
            for other in imported_packages(path, inner):
                edges.setdefault((part, other), path)
    return edges


def test_imports_run_one_way() -> None:
    edges = import_edges()
    for (part, other), path in edges.items():
        if part == other:
            continue
        upper, lower = rank(part), rank(other)
        assert upper is not None, f"{part} has no place in the order of imports"
        assert lower is not None, f"{path} imports edgecloud.{other}, which has no place in the order"
        assert lower <= upper, f"{path}: {part} must not import {other}"
        assert (other, part) not in edges, f"{part} and {other} import each other"


def imported_from_profiles(path: Path, package: str) -> set[str]:
    """The packages of edgecloud.profiles ('' for a module beside them) that a file imports from by relative imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            target = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            for name in (f"{target}.{alias.name}" for alias in node.names):
                if name.startswith("edgecloud.profiles."):
                    part = name.split(".")[2]
                    found.add(part if part in PROFILES_RANK else "")
    return found


def test_imports_inside_profiles_run_one_way() -> None:
    root = "edgecloud.profiles"
    folders = {name.removeprefix(root)[1:]: folder for name, folder in declared().items() if name.startswith(root)}
    assert folders.keys() == PROFILES_RANK.keys()
    for part, folder in folders.items():
        for path in folder.glob("*.py"):
            for other in imported_from_profiles(path, f"{root}.{part}".rstrip(".")) - {part}:
                assert PROFILES_RANK[other] < PROFILES_RANK[part], f"{path}: must not import profiles.{other}"


def test_imports_inside_the_package_are_relative() -> None:
    for folder in declared().values():
        for path in folder.glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module or ""]
                assert not any(name.split(".")[0] == "edgecloud" for name in names), f"{path}: {names}"


@pytest.mark.parametrize("name", [".ci/run", ".ci/types", ".ci/copy"])
def test_scripts_are_executable(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)
