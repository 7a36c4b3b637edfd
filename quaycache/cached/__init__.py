"""The client with a store in front of it: it has the client's interface, and fewer requests."""
