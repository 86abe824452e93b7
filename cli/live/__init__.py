"""A real stack for the demo: server and trainer as processes, their registry and metrics, and this process to check them."""
