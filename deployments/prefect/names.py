"""Names that `prefect.yaml` gives, for the code that refers to them."""

DETECT_DEPLOYMENT = "detect-faces/detect-faces"
REPROCESS_DEPLOYMENT = "reprocess/reprocess"
DELIVER_DEPLOYMENT = "deliver-callbacks/deliver-callbacks"
MAINTAIN_DEPLOYMENT = "maintain/maintain"
CONTROL_DEPLOYMENTS = (REPROCESS_DEPLOYMENT, DELIVER_DEPLOYMENT, MAINTAIN_DEPLOYMENT)
DEPLOYMENTS = (DETECT_DEPLOYMENT, *CONTROL_DEPLOYMENTS)

WORK_QUEUES = {
    "control": "Administration: callbacks that are due, reprocessing, maintenance. In slots of its own.",
    "interactive": "Detection in what was just submitted.",
    "bulk": "Detection for reprocessing; taken when nothing interactive waits, and yields to it.",
}
"""The work pool's queues, the most urgent first."""
