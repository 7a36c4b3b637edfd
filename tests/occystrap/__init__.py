"""The bridge to occystrap, on the real occystrap."""
