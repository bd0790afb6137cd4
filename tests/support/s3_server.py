"""An S3 server that checks signatures: Ceph's RADOS gateway on one monitor and one store in memory. Debian's packages.

`python s3_server.py FOLDER HOST:PORT ACCESS SECRET` runs it until SIGTERM, after which the store lies in FOLDER and a
next start goes on with it. It imports nothing of the project: the stack test runs it in an image of its own.
"""

import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
_READY_SECONDS = 60
_CONF = """\
[global]
fsid = {fsid}
mon_host = v1:127.0.0.1:{monitor}
mon_initial_members = a
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_msgr2 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_crush_update_on_start = false
osd_class_update_on_start = false
osd_class_load_list = *
osd_class_default_list = *
osd_fast_shutdown = false
osd_objectstore = memstore
memstore_device_bytes = 2147483648
paxos_propose_interval = 0.02
paxos_min_wait = 0.01
mon_tick_interval = 1
mon_client_hunt_interval = 0.5
run_dir = {folder}
log_file = {folder}/$name.log
admin_socket = {folder}/$name.asok
crash_dir = {folder}
pid_file =
mon_data = {folder}/mon
osd_data = {folder}/osd
rgw_data = {folder}/rgw
rgw_frontends = beast endpoint={endpoint}
rgw_thread_pool_size = 16
"""


def is_installed() -> bool:
    return all(shutil.which(program) for program in PROGRAMS)


def main(folder: Path, endpoint: str, access: str, secret: str) -> int:
    conf, new = folder / "ceph.conf", not (folder / "osd" / "fsid").exists()
    if new:
        _lay_out(folder, conf, endpoint)
    parts = [_start(conf, "ceph-mon", "-i", "a", "-f")]
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        if new:
            osd = str(uuid.uuid4())
            _until(lambda: _run(conf, "ceph", "--connect-timeout", "5", "osd", "create", osd))
            _must(conf, "ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
            _must(conf, "ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=h0")
        parts.append(_start(conf, "ceph-osd", "-i", "0", "-f"))
        _until(lambda: "1 up" in (_run(conf, "ceph", "--connect-timeout", "5", "osd", "stat") or ""))
        if new:
            user = ["--uid", "app", "--display-name", "app", "--access-key", access, "--secret-key", secret]
            _must(conf, "radosgw-admin", "user", "create", *user)
        parts.append(_start(conf, "radosgw", "-n", "client.rgw", "-f"))
        while all(part.poll() is None for part in parts):
            time.sleep(0.2)
        return 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for part in reversed(parts):  # the store writes itself to the folder as it ends
            part.terminate()
            with suppress(subprocess.TimeoutExpired):
                part.wait(timeout=8)
            part.kill()


def _lay_out(folder: Path, conf: Path, endpoint: str) -> None:
    for name in ("mon", "osd", "rgw"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monitor = probe.getsockname()[1]
    fsid, monmap = str(uuid.uuid4()), str(folder / "monmap")
    conf.write_text(_CONF.format(fsid=fsid, monitor=monitor, folder=folder, endpoint=endpoint))
    address = f"[v1:127.0.0.1:{monitor}]"
    _must(conf, "monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", address, monmap)
    _must(conf, "ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)


def _start(conf: Path, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*command, "-c", str(conf)], stdin=subprocess.DEVNULL)


def _run(conf: Path, *command: str) -> str | None:
    done = subprocess.run([*command, "-c", str(conf)], capture_output=True, text=True, timeout=30)
    return None if done.returncode else done.stdout + done.stderr


def _must(conf: Path, *command: str) -> None:
    subprocess.run([*command, "-c", str(conf)], check=True, capture_output=True, timeout=60)


def _until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + _READY_SECONDS
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError("Ceph does not start")
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:5]))
