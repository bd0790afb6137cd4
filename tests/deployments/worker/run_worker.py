"""A warm worker for the tests: as `facet worker` starts it, but without the detector."""

import sys

from deployments.worker.serve import serve
from facet.settings import Settings

if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), Settings(), services=False)
