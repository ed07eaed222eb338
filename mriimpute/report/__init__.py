"""Records to tables and figures for people; the only importer of matplotlib."""

from mriimpute.report.figure import write_figure
from mriimpute.report.overview import write_overviews
from mriimpute.report.page import write_page
from mriimpute.report.reproduction import write_panels
from mriimpute.report.scan_page import write_scan_page
from mriimpute.report.table import Table, advice_of, table_of

__all__ = [
    "Table",
    "advice_of",
    "table_of",
    "write_figure",
    "write_overviews",
    "write_page",
    "write_panels",
    "write_scan_page",
]
