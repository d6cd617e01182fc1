"""A Slurm cluster of one node (Debian: `slurm-wlm`), with files and ports of its own."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time

import pytest

_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES State=UP
"""


@contextlib.contextmanager
def running(folder):
    """Start it and yield what its commands need in their environment."""
    for command in ("munged", "slurmctld", "slurmd", "sbatch"):
        if shutil.which(command, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            pytest.skip("Slurm is not installed")
    if os.geteuid() != 0:
        pytest.skip("its daemons run as root here")
    folder.mkdir()
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
    (folder / "munge.key").chmod(0o400)
    values = {"host": socket.gethostname().partition(".")[0], "cpus": os.cpu_count()}
    text = _CONFIGURATION.format(folder=folder, ports=(_free_port(), _free_port()), **values)
    (folder / "slurm.conf").write_text(text)
    environment = {"SLURM_CONF": str(folder / "slurm.conf")}
    files = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munged.pid",
             "log-file": "munged.log", "seed-file": "munged.seed"}  # fmt: skip
    _run("munged", "--force", *(f"--{key}={folder / name}" for key, name in files.items()))
    try:
        _run("slurmctld", "-c", **environment)
        _run("slurmd", **environment)
        deadline = time.monotonic() + 60
        while "idle" not in _run("sinfo", **environment):
            assert time.monotonic() < deadline, (folder / "slurmctld.log").read_text()
            time.sleep(0.2)
        yield environment
    finally:
        for name in ("slurmd", "slurmctld", "munged"):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((folder / f"{name}.pid").read_text()), signal.SIGTERM)


def _run(*command, **environment):
    paths = {"PATH": f"{os.environ['PATH']}:/usr/sbin"}
    done = subprocess.run(
        command, env=os.environ | paths | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
