"""The project's own prompts: one file a domain, each with `write(rng) -> turns` and `MAX_TOKENS`."""
