"""Bulk reprocessing: detect anew in many stored images, at a lower priority, each of them once.

`request` says which images and how, `reprocessings` is the operator's side (ask for it, pause, resume, cancel),
`feeder` the flow's side (take images, a bounded number at a time), `redos` what claims note of each image's end,
`supervision` sees to it that a flow run has each reprocessing in hand, and `report` tells what became of it.
"""
