"""The client of a Quay server: its API, retries, pace and connections."""
