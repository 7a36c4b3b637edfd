"""Queries in, one ordered `Resolution` out: n lookups over j workers."""
