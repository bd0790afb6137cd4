"""Facet's adapter to Prefect: deployments, work pools, automations, flow runs, and the embedded server."""
