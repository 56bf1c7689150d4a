"""The report: the page, its tables and its figures."""
