"""Real Snakemake runs in temporary folders, on a task and models that train in seconds."""

import csv
import os
import random
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
TOPICS = {
    "sport": ["match", "goal", "team", "coach", "league", "score"],
    "music": ["song", "guitar", "band", "melody", "concert", "drum"],
    "food": ["bread", "soup", "kitchen", "recipe", "cheese", "salt"],
}
FILLER = ["the", "a", "this", "was", "very", "new", "old", "in", "town", "yesterday"]


def write_csv(path: Path, rows: int, seed: int, topics: dict[str, list[str]] = TOPICS) -> None:
    """A CSV of texts whose words give away their topic."""
    generator = random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["headline", "topic", "source"])
        for row in range(rows):
            topic = generator.choice(list(topics))
            words = generator.choices(topics[topic], k=2) + generator.choices(FILLER, k=generator.randrange(2, 12))
            generator.shuffle(words)
            writer.writerow([" ".join(words), topic, f"agency{row % 3}"])


def small_config() -> dict:
    """A complete experiment with scratch models: two references, and all four methods."""
    scratch = {"architecture": "bert", "layers": 2, "hidden_size": 16, "vocab_size": 200}
    resources = {"threads": 1, "mem_mb": 1000, "runtime": 10}
    return {
        "task": "topics",
        "data_dir": "data",
        "data": {
            "text": "headline",
            "label": "topic",
            "labels": list(TOPICS),
            "group": "source",
            "train": {"path": "news.csv", "part": [0, 0.8]},
            "dev": {"path": "news.csv", "part": [0.8, 1]},
            "ood": {"blogs": {"dev": {"path": "blogs.csv", "rows": 20}, "test": {"path": "blogs-test.csv"}}},
        },
        "models": {
            "small": {"scratch": {**scratch, "layers": 1}, "resources": resources},
            "other": {"scratch": {**scratch, "architecture": "electra"}, "resources": resources},
            "large": {"scratch": scratch, "resources": resources},
        },
        "references": ["small"],
        "mains": ["large"],
        "methods": {
            "erm": {},
            "random": {"select": {"by": "random", "fraction": 0.33}},
            "dm": {"select": {"by": "ambiguous", "fraction": 0.33}, "references": ["self"]},
            "ftft": {"select": {"by": "ambiguous", "fraction": 0.33}, "stop": {"monitor": "ood_dev", "patience": 1}},
        },
        "seeds": [0],
        "training": {
            "batch_size": 16,
            "epochs": 3,
            "evaluate_every": 8,
            "learning_rate": 3.0e-3,
            "max_length": 32,
            "precision": "fp32",
        },
        "runtime": {"device": "cpu", "progress": False},
    }


def write_experiment(folder: Path, config: dict | None = None) -> Path:
    """Data and ``config.yaml`` of the small experiment, in an empty working folder."""
    for name, rows, seed in (("news", 120, 0), ("blogs", 30, 1), ("blogs-test", 30, 2)):
        write_csv(folder / f"data/{name}.csv", rows, seed)
    write_config(folder, config or small_config())
    return folder


def finished(folder: Path, config: dict) -> Path:
    """The folder of an experiment that has run to its end."""
    write_experiment(folder, config)
    done = snakemake(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def write_config(folder: Path, config: dict) -> None:
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def snakemake(
    folder: Path, *arguments: str, config: str = "config.yaml", root: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in ``folder`` on this workflow, or on the copy of it in ``root``."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(root / "Snakefile"), "--directory", str(folder)]
    command += ["--configfile", str(folder / config), "--cores", "2", *arguments]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TERM": "dumb"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


TARGETS = {"all", "everything", "tokens", "references", "datamaps", "transfer", "subsets", "mains"}
TARGETS |= {"evaluations", "summary"}


def planned_jobs(folder: Path, *arguments: str, root: Path = ROOT) -> list[str]:
    """The jobs that a dry run would start, as sorted rule names with their wildcards."""
    done = snakemake(folder, "--dry-run", *arguments, root=root)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs, rule = [], None
    for line in (done.stdout + done.stderr).splitlines():
        if line.startswith(("rule ", "localrule ")):
            rule = line.split()[1].rstrip(":")
            jobs.append(rule)
        elif line.startswith("    wildcards: ") and rule:
            jobs[-1] = f"{rule} {line.removeprefix('    wildcards: ')}"
    return sorted(job for job in jobs if job not in TARGETS)
