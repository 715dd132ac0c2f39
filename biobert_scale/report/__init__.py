"""One self-contained HTML page about a demonstration or a run: what went in, how training went, what came
out."""

from biobert_scale.report.page import write_report

__all__ = ["write_report"]
