"""One file for each figure: its goals, and how it is measured."""
