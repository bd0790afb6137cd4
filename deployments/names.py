"""Names that `prefect.yaml` gives, for the code that refers to them."""

DETECT_DEPLOYMENT = "detect-faces/detect-faces"
DELIVER_DEPLOYMENT = "deliver-callbacks/deliver-callbacks"
