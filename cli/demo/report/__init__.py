"""The report: one HTML page that needs nothing else, and the same figures as JSON beside it."""

from cli.demo.report.page import render, write_report

__all__ = ["render", "write_report"]
