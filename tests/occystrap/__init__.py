"""The bridge to occystrap, tested with the real occystrap."""
