"""The domain of Facet: free of FastAPI and Prefect."""
