"""A stand-in for a host that reboots: a separate Docker engine with networks, whose power can be cut."""

import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests.docker.commands import docker


class Host:
    """Runs an engine with bridges and firewall rules in a separate network namespace, apart from those of the machine's engine.

    Published ports are reachable in that namespace only; tests use `docker exec`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._daemon: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    def docker(self, *arguments: str) -> str:
        return docker(f"--host={self.socket}", *arguments)

    def boot(self) -> None:
        """Start the engine, as the host's init system does; it starts what was running."""
        (self.folder / "daemon.json").write_text("{}")
        command = ["dockerd", f"--config-file={self.folder}/daemon.json", f"--host={self.socket}"]
        command += [f"--data-root={self.folder}/data", f"--exec-root={self.folder}/exec", f"--pidfile={self.folder}/pid"]
        command += ["--cgroup-parent=host-of-the-tests", "--containerd-namespace=host", "--containerd-plugins-namespace=host-p"]
        script = 'ip link set lo up && exec "$@"'
        with (self.folder / "log").open("ab") as log:
            self._daemon = subprocess.Popen(
                ["unshare", "--net", "sh", "-euc", script, "sh", *command], stdout=log, stderr=log, start_new_session=True
            )
        for _ in range(300):
            if not subprocess.run(["docker", f"--host={self.socket}", "info"], capture_output=True).returncode:
                return
            time.sleep(0.2)
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def cut_power(self) -> None:
        """End the engine and everything in its containers at once, and drop what a reboot drops: mounts and `/run`."""
        assert self._daemon is not None
        stopped: set[psutil.Process] = set()
        while new := set(self._processes()) - stopped:  # stopped first, so that none can react to the end of another
            for process in new:
                with suppress(psutil.NoSuchProcess):
                    process.suspend()
            stopped |= new
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._daemon.wait(60)
        psutil.wait_procs(stopped, timeout=60)
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for path in reversed([path for path in mounted if path.startswith(f"{self.folder}/")]):
            subprocess.run(["umount", "--lazy", path], check=True)
        subprocess.run(
            ["rm", "--recursive", "--force", f"{self.folder}/exec", f"{self.folder}/pid", f"{self.folder}/docker.sock"]
        )

    def _processes(self) -> list[psutil.Process]:
        """List the engine's processes, and all that descend from them."""
        roots = [process for process in psutil.process_iter(["cmdline"]) if self._is_engine(process)]
        return [*roots, *(child for process in roots for child in process.children(recursive=True))]

    def _is_engine(self, process: psutil.Process) -> bool:
        line = process.info["cmdline"] or [""]
        program = Path(line[0]).name
        return program.startswith(("dockerd", "containerd")) and any(str(self.folder) in argument for argument in line)

    def copy_image(self, image: str) -> None:
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
            load = ["docker", f"--host={self.socket}", "load", "--quiet"]
            subprocess.run(load, stdin=saved.stdout, check=True, capture_output=True)
        assert saved.returncode == 0
