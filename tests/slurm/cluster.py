"""A real SLURM of one node in a folder: its own daemons, key, ports and pretended GPUs."""

import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Daemons are not on everybody's path.
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
DAEMONS = ("munged", "slurmctld", "slurmd")
# Two models of GPU with two devices each, which are four shards each. More cores than the machine has, so that jobs run
# side by side.
NODE = "CPUs=16 RealMemory=64000 Gres=gpu:a100:2,gpu:h100:2,shard:16"
CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu,shard
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
# Finished jobs stay to be looked at; started and killed ones do not keep a test waiting.
MinJobAge=3600
KillWait=5
OverTimeLimit=0
SchedulerParameters=batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 {node}
PartitionName=cpu Nodes={host} Default=YES MaxTime=1-0
PartitionName=gpu Nodes={host} MaxTime=1-0
"""


def missing() -> str | None:
    """Why no SLURM can be started here, or None."""
    absent = [name for name in DAEMONS if shutil.which(name, path=PATH) is None]
    if absent:
        return f"needs {', '.join(absent)}: apt-get install slurm-wlm munge"
    return "needs root" if os.getuid() else None


def wait_until(done: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """The first true value of ``done``; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        value = done()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"still waiting for {what} after {seconds:.0f} s")
        time.sleep(0.2)


class Cluster:
    """SLURM's daemons, as child processes.

    Attributes:
        environment: for commands that use this cluster.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = socket.gethostname().split(".")[0]
        self.daemons: list[subprocess.Popen] = []
        unset = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "SRUN"))}
        self.environment = unset | {"PATH": f"{folder / 'bin'}:{PATH}", "SLURM_CONF": str(folder / "slurm.conf")}

    def start(self) -> None:
        """Start the daemons and wait until the node takes jobs."""
        for name in ("bin", "munge", "state", "spool", "devices"):
            (self.folder / name).mkdir()
        self._write_configuration()
        munge = self.folder / "munge"
        (munge / "key").write_bytes(os.urandom(1024))
        (munge / "key").chmod(0o600)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        # The folder of a test is closed to other users, which munge forces to be asked for.
        self._start("munged", "--foreground", "--force", *(f"--{name}={munge / file}" for name, file in files.items()))
        wait_until((munge / "socket").exists, "munged")
        self._start("slurmctld", "-D")
        self._start("slurmd", "-D")
        wait_until(lambda: self.run("sinfo", "-h", "-o", "%T", check=False) == "idle", "the node")

    def stop(self) -> None:
        """End all jobs and daemons."""
        try:
            if len(self.daemons) == len(DAEMONS):
                self.run("scancel", "--user", "root", check=False)
                wait_until(lambda: not self.run("squeue", "-h", check=False), "jobs to end")
        finally:
            for daemon in reversed(self.daemons):
                daemon.terminate()
                try:
                    daemon.wait(20)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()

    def run(self, *command: str, check: bool = True) -> str:
        """What a command of SLURM prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert not (check and done.returncode), f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def jobs(self) -> list[dict[str, str]]:
        """All jobs since the start, finished ones too, with the names and values that ``scontrol`` shows."""
        lines = self.run("scontrol", "--oneliner", "show", "jobs").splitlines()
        return [dict(pair.split("=", 1) for pair in line.split() if "=" in pair) for line in lines if "JobId=" in line]

    def _write_configuration(self) -> None:
        with socket.socket() as first, socket.socket() as second:
            ports = []
            for probe in (first, second):
                probe.bind(("127.0.0.1", 0))
                ports.append(probe.getsockname()[1])
        text = CONFIG.format(
            host=self.host, folder=self.folder, controller_port=ports[0], node_port=ports[1], node=NODE
        )
        (self.folder / "slurm.conf").write_text(text, encoding="utf-8")
        gres = []
        for index, model in enumerate(("a100", "a100", "h100", "h100")):
            device = self.folder / f"devices/nvidia{index}"
            os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # as /dev/null
            gres.append(f"Name=gpu Type={model} File={device}\n")
        gres.append("Name=shard Count=16\n")
        (self.folder / "gres.conf").write_text("".join(gres), encoding="utf-8")
        # The executor of a job's inner step drops SLURM's variables, and with them where this cluster is.
        srun = self.folder / "bin/srun"
        real = shutil.which("srun", path=PATH)
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {real} "$@"\n', encoding="utf-8")
        srun.chmod(0o755)

    def _start(self, name: str, *arguments: str) -> None:
        program = shutil.which(name, path=PATH)
        assert program is not None
        with open(self.folder / f"{name}.log", "w", encoding="utf-8") as log:
            daemon = subprocess.Popen([program, *arguments], env=self.environment, stdout=log, stderr=log)
        self.daemons.append(daemon)
