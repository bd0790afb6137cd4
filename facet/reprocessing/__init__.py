"""Bulk reprocessing: detect again in many stored images, at a lower priority, each of them once.

`request` says which images and how, `reprocessings` is the operator's side (ask for it, pause, resume, cancel),
`feeder` the flow's side (take images, a bounded number at a time), `reprocessed_images` what claims note of each
image's end, `supervision` sees to it that a flow run works on each reprocessing, and `report` tells what became of it.
"""
