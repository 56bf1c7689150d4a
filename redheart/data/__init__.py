"""Where records come from: sources of any format, and which of their items are records."""
