"""The API on a real port, and real reverse proxies before it: nginx and HAProxy, on free ports."""

import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from tests.support.processes import answers, free_port, running, wait_for

DOCS = Path(__file__).parents[2] / "docs"
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
NGINX, HAPROXY = (shutil.which(name, path=_PATH) for name in ("nginx", "haproxy"))


@contextmanager
def serving(app: FastAPI) -> Iterator[int]:
    """Serve the application as `facet api` does, without its dispatcher; yields the port."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started, 20, "the server")
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join()


def documented(language: str, nth: int = 0) -> str:
    """A configuration as docs/production.md shows it."""
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / "production.md").read_text(), re.DOTALL)[nth]


@contextmanager
def nginx(locations: str, folder: Path) -> Iterator[int]:
    """An nginx with these locations; yields its port."""
    port = free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{}}\n"
        f"http {{ {paths} access_log off;\nserver {{ listen 127.0.0.1:{port};\n{locations}\n}} }}\n"
    )
    with running([str(NGINX), "-p", str(folder), "-c", str(config), "-e", "stderr"], folder / "log"):
        wait_for(lambda: answers(port), 20, "nginx listens")
        yield port


@contextmanager
def haproxy(sections: str, folder: Path) -> Iterator[int]:
    """A HAProxy with these sections, of which a frontend binds `:PORT`; yields that port."""
    port = free_port()
    config = folder / "haproxy.cfg"
    timeouts = "timeout connect 5s\ntimeout client 60s\ntimeout server 60s"
    config.write_text(f"defaults\nmode http\n{timeouts}\n\n{sections.replace('PORT', str(port))}\n")
    with running([str(HAPROXY), "-db", "-f", str(config)], folder / "log"):
        wait_for(lambda: answers(port), 20, "HAProxy listens")
        yield port
