"""What containers run besides the service itself: health checks, making their secrets, copying objects."""
