"""The warm worker: Prefect's process worker, with its Python processes kept running between the flow runs.

`worker` takes flow runs from the work pool, `slots` keep the children, `process` is one child as the worker sees it,
`child` is the child's own start and `flow_run_loop` what it does, `attempts` are runs in children, and `supervision` is
Prefect's own care for them.
"""
