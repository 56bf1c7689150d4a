"""Red Heart: the best model that a small labelled corpus can give, as a declarative build."""

__version__ = "0.3.0"
