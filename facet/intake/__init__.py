"""What comes in and is asked for: images, idempotency keys, lists, activity, and renditions made on demand."""
