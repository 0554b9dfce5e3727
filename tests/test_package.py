"""What ``pip install .`` gives: the whole library and its data, its commands, and no more packages than are needed."""

import os
import shutil
import subprocess
import sys
import tomllib
from email import message_from_bytes
from importlib import import_module
from pathlib import Path
from typing import get_args
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from test_environment import LOCK, ROOT, WITHOUT_DEPENDENCIES, canonicalize_name

from ftft.experiment.config import Runtime

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

# Prints which packages are imported by what is for use without the workflow, and where the library was found.
LIGHT = """
import importlib, pkgutil, sys
import ftft.dynamics, ftft.interop.cartography

for module in pkgutil.iter_modules(ftft.dynamics.__path__, "ftft.dynamics."):
    importlib.import_module(module.name)
modules = [(name, getattr(module, "__file__", None) or "") for name, module in sys.modules.items()]
print(*sorted({name.split(".")[0] for name, file in modules if "site-packages" in file}))
print(ftft.dynamics.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The library as pip builds it, from a copy and without a network."""
    folder = tmp_path_factory.mktemp("package")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "workflow" / "scripts", folder / "workflow" / "scripts", ignore=ignore)
    command = [sys.executable, "-m", "pip", "wheel", str(folder), "--wheel-dir", str(folder), "--no-deps", "--no-index"]
    done = subprocess.run([*command, "--no-build-isolation"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = folder.glob("*.whl")
    return wheel


def test_the_package_has_every_file_of_the_library_and_nothing_else(wheel):
    library = ROOT / "workflow" / "scripts"
    files = {
        path.relative_to(library).as_posix()
        for path in (library / "ftft").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    with ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == files


def test_the_package_names_its_licence_its_python_and_its_command(wheel):
    with ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        found = message_from_bytes(archive.read(metadata))
        commands = archive.read(metadata.replace("METADATA", "entry_points.txt")).decode()
    assert (found["Name"], found["License-Expression"], found["Requires-Python"]) == ("ftft-pipeline", "MIT", ">=3.11")
    assert "ftft-cartography = ftft.interop.cartography:main" in commands


def test_every_command_of_the_package_can_be_called():
    for target in PROJECT["scripts"].values():
        module, _, function = target.partition(":")
        assert callable(getattr(import_module(module), function))


def test_what_is_for_use_without_the_workflow_needs_only_what_pip_installs(wheel, tmp_path):
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    imported, place = done.stdout.splitlines()
    assert Path(place).is_relative_to(tmp_path)
    of_themselves = {"_distutils_hack", "cloudpickle"}  # of setuptools and pyarrow, where there
    assert set(imported.split()) - of_themselves == set(PROJECT["dependencies"])


def test_the_callback_says_how_to_get_what_it_lacks(wheel, tmp_path):
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = "import sys; sys.modules['accelerate'] = None; import ftft.interop.callback"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: accelerate is not installed, which the callback needs; in the clone: pip install '.[training]'"
    )


def test_what_the_package_asks_for_is_what_the_workflow_is_tested_with():
    """Every requirement of requirements.in but those of the tests is asked for once, and its locked version allowed."""
    text = (ROOT / "requirements.in").read_text(encoding="utf-8").partition("\n# Tests and linters\n")[0]
    names = {Requirement(line.split("#")[0]).name for line in text.splitlines() if line.split("#")[0].strip()}
    of_tests_too = {"filelock", WITHOUT_DEPENDENCIES}  # pip could not install the latter without its dependencies
    extras = [line for name in ("training", "quantization", "workflow") for line in EXTRAS[name]]
    asked = [Requirement(line) for line in [*PROJECT["dependencies"], *extras]]
    assert sorted(requirement.name for requirement in asked) == sorted(names - of_tests_too)
    assert [str(wanted) for wanted in asked if LOCK[canonicalize_name(wanted.name)] not in wanted.specifier] == []


def test_every_tracker_of_the_configuration_can_be_installed():

    literal = next(kind for kind in get_args(Runtime.model_fields["tracker"].annotation) if get_args(kind))
    assert list(get_args(literal)) == EXTRAS["trackers"]
