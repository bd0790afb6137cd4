"""A child of the warm worker: `python -m deployments.worker.child FD …`, with the socket FD to the worker."""

import json
import os
import socket
import sys

from facet.loading import loading


def main(arguments: list[str]) -> None:
    """FD of the connection, then what to load beforehand as JSON: `{"flows": […], "services": true}`."""
    descriptor, load = int(arguments[0]), json.loads(arguments[1])
    os.set_inheritable(descriptor, False)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with loading():
        from deployments.worker.flow_run_loop import Child, load_services, prepare

        prepare()
        if load["services"]:
            load_services()
        child = Child(socket.socket(fileno=descriptor), load["flows"])
    try:
        child.serve()
    except BrokenPipeError:  # the worker has gone
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
