"""Commands for those who work on Facet; nothing here is part of the service."""
