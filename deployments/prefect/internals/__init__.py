"""All that Facet uses of Prefect that is not public: what an upgrade of Prefect has to look at.

`engine` runs a flow run in this process, `runner` looks after the processes of flow runs, and `server` is Prefect's
server. They are apart because the server's code costs each process that imports it 80 MB and three seconds.
`tests/deployments/test_prefect_internals.py` says what each name must be and do; the linter holds all other modules to
Prefect's public names.
"""
