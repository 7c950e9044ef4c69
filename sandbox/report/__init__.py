"""What we tell people: claims, figures, tables, and the page that holds them all."""

from sandbox.report.claims import Claim, relative, same, within
from sandbox.report.page import page
from sandbox.report.results import Result, read, read_all, write
from sandbox.report.tables import claims_table, markdown, table, write_csv

__all__ = [
    "Claim",
    "Result",
    "claims_table",
    "markdown",
    "page",
    "read",
    "read_all",
    "relative",
    "same",
    "table",
    "within",
    "write",
    "write_csv",
]
