"""Requests of this machine's own servers.

`httpx.get` and its like load the machine's certificates for each request, which takes longer than most answers here.
"""

from functools import partial

import httpx

get = partial(httpx.get, verify=False)
post = partial(httpx.post, verify=False)
request = partial(httpx.request, verify=False)
