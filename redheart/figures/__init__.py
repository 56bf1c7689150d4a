"""The figures: each drawn once from result files, and saved as SVG, PDF and PNG."""
