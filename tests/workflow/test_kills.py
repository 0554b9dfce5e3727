"""After kill -9 of Snakemake itself, the same command goes on."""

import os
import subprocess
import sys
import time

from workflow.harness import ROOT, small_config, snakemake, write_experiment


def test_the_same_command_goes_on_after_a_kill_of_snakemake(tmp_path):
    """Its training, which nobody waits for any more, ends first; no lock is in the way."""
    config = small_config()
    config["training"] |= {"epochs": 3000, "evaluate_every": 1000}
    folder = write_experiment(tmp_path, config)
    reference = "results/topics/reference/large/seed0"
    log = folder / "results/topics/logs/train_reference/large/seed0.log"
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--configfile", str(folder / "config.yaml"), "--cores", "2", f"{reference}/metrics.parquet"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TERM": "dumb"}
    run = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: log.exists() and "steps on" in log.read_text(), run, 400)
    run.kill()
    run.wait()
    assert list((folder / ".snakemake/locks").iterdir())

    config["training"]["epochs"] = 3
    config["training"]["evaluate_every"] = 8
    write_experiment(tmp_path, config)
    done = snakemake(folder, f"{reference}/metrics.parquet")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "A run was killed here; its locks are removed, and this one goes on." in done.stderr
    assert not (folder / ".snakemake/locks").exists()


def wait_until(condition, run: subprocess.Popen, seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert run.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.1)
