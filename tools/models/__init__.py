"""What the detector's networks are built of."""
