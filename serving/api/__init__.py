"""The HTTP side of a server: OpenAI's surface in front of any engine. `create_app` makes it, `server` runs it."""
