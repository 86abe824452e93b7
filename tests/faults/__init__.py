"""Faults, each against real servers: what the product promises holds while something is broken, and after it is mended."""
