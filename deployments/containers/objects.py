"""Copy the object store out of the service, and into another.

`python -m deployments.containers.objects export|import FOLDER`. The folder is laid out as a folder store. Keys are
never written again with another content, so what is there already is passed over, and repeating an export takes what
is new.
"""

import sys
from contextlib import suppress
from pathlib import Path

from facet.errors import ObjectNotFound
from facet.services import get_services
from facet.storage import FolderStore, ObjectStore

_ALL = "images/"
_MEDIA_TYPE = "application/octet-stream"  # nobody reads it: the database has each object's own


def copy(source: ObjectStore, target: ObjectStore) -> tuple[int, int]:
    """How many objects were copied, and how many were there."""
    there = set(target.keys(_ALL))
    copied = 0
    for key in source.keys(_ALL):
        if key not in there:
            with suppress(ObjectNotFound):  # removed since it was listed
                target.put(key, source.get(key), _MEDIA_TYPE)
                copied += 1
    return copied, len(there)


def main(direction: str, folder: str) -> int:
    if direction not in ("export", "import"):
        print("Say `export FOLDER` or `import FOLDER`.", file=sys.stderr)
        return 2
    store, files = get_services().store, FolderStore(Path(folder))
    store.check()
    copied, there = copy(store, files) if direction == "export" else copy(files, store)
    print(f"{copied} objects copied, {there} were there.")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
