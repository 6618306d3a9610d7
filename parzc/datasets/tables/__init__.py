"""Tables of architectures and their labels: embedded ones, CSV and Parquet, and official benchmark files."""

from parzc.datasets.tables._base import Table, list_tables, load_table
from parzc.datasets.tables._formats import FORMATS, Format, embedded_tables, formats
from parzc.datasets.tables.embedded import EMBEDDED, EmbeddedTable

__all__ = [
    "EMBEDDED",
    "FORMATS",
    "EmbeddedTable",
    "Format",
    "Table",
    "embedded_tables",
    "formats",
    "list_tables",
    "load_table",
]
