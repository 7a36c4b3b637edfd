"""A Redis or Valkey that keeps answers for a fleet; only `server` imports redis-py."""
