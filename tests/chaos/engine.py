"""A second Docker engine, which tests may stop: with its own socket, data and containers, reachable by TLS as well."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

from tests.docker.commands import docker
from tests.docker.stack import free_port

OPENSSL = r"""
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -addext keyUsage=critical,keyCertSign \
    -keyout authority-key.pem -out ca.pem
for who in server client; do
    openssl req -newkey rsa:2048 -nodes -subj /CN=$who -keyout $who-key.pem -out $who.csr
    printf '%s\n' "subjectAltName=IP:$ADDRESS" authorityKeyIdentifier=keyid extendedKeyUsage=${who}Auth >$who.ext
    openssl x509 -req -days 2 -in $who.csr -CA ca.pem -CAkey authority-key.pem -CAcreateserial -extfile $who.ext -out $who.pem
done
mkdir client
cp ca.pem client/
mv client.pem client/cert.pem
mv client-key.pem client/key.pem
chmod 750 . client
chmod 640 client/*
"""


class Engine:
    """Runs `dockerd` on the machine's bridge address, for clients that hold a certificate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subnet = docker("network", "inspect", "bridge", "--format={{(index .IPAM.Config 0).Subnet}}")
        self.address = str(next(ip_network(subnet).hosts()))  # of the bridge: containers reach it
        self.port = int(free_port())
        self._daemon: subprocess.Popen[bytes] | None = None
        environment = os.environ | {"ADDRESS": self.address}
        subprocess.run(["sh", "-euc", OPENSSL], cwd=folder, env=environment, check=True, capture_output=True)

    @property
    def variables(self) -> dict[str, str]:
        """Return the variables with which `make up` runs the stages on this engine."""
        return {
            "STAGE_DOCKER_HOST": f"tcp://{self.address}:{self.port}",
            "STAGE_DOCKER_CERT_PATH": str(self.folder / "client"),
        }

    def docker(self, *arguments: str) -> str:
        return docker(f"--host=unix://{self.folder}/docker.sock", *arguments)

    def start(self) -> None:
        (self.folder / "daemon.json").write_text("{}")
        command = ["dockerd", f"--config-file={self.folder}/daemon.json", f"--host=unix://{self.folder}/docker.sock"]
        command += ["--host=fd://", "--tlsverify", f"--tlscacert={self.folder}/ca.pem"]
        command += [f"--tlscert={self.folder}/server.pem", f"--tlskey={self.folder}/server-key.pem"]
        command += [f"--data-root={self.folder}/data", f"--exec-root={self.folder}/exec", f"--pidfile={self.folder}/pid"]
        command += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--cgroup-parent=engine-of-the-tests"]
        command += ["--containerd-namespace=tests", "--containerd-plugins-namespace=tests-plugins"]
        # In its own network namespace, which has no bridge: `--bridge=none` would remove that of the machine's engine.
        # It inherits its listening socket, as from systemd.
        script = 'test "$0" = 3 || exec 3<&"$0"; LISTEN_FDS=1 LISTEN_PID=$$ exec unshare --net "$@"'
        with (
            socket.create_server((self.address, self.port)) as listening,
            (self.folder / "log").open("ab") as log,
        ):
            inherited = listening.fileno()
            self._daemon = subprocess.Popen(
                ["bash", "-euc", script, str(inherited), *command],
                pass_fds=[inherited],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        for _ in range(300):
            if self._answers():
                return
            time.sleep(0.2)
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def _answers(self) -> bool:
        return not subprocess.run(
            ["docker", f"--host=unix://{self.folder}/docker.sock", "info"], capture_output=True
        ).returncode

    def stop(self) -> None:
        if self._daemon:
            self._daemon.terminate()
            self._daemon.wait(60)

    def copy_image(self, image: str) -> None:
        saved = subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE)
        load = ["docker", f"--host=unix://{self.folder}/docker.sock", "load", "--quiet"]
        subprocess.run(load, stdin=saved.stdout, check=True, capture_output=True)
        assert saved.wait() == 0


def missing_requirements() -> str:
    """Return what this machine lacks for a second engine; empty if nothing."""
    if os.geteuid() != 0 or not shutil.which("dockerd") or not shutil.which("openssl") or not shutil.which("unshare"):
        return "a second Docker engine needs dockerd, openssl, unshare and root"
    return ""


@contextmanager
def running_engine(folder: Path) -> Iterator[Engine]:
    engine = Engine(folder)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()
        shutil.rmtree(folder / "data", ignore_errors=True)
