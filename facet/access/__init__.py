"""Who may ask: API keys, request limits and signed links. It stands on the rows and the settings."""
