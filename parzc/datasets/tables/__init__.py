"""Tables of architectures and their labels: embedded ones, CSV and Parquet, and official benchmark files."""

from parzc.datasets.tables._base import FORMATS, Format, Table, list_tables, load_table
from parzc.datasets.tables.embedded import EMBEDDED, EmbeddedTable

__all__ = ["EMBEDDED", "FORMATS", "EmbeddedTable", "Format", "Table", "list_tables", "load_table"]
