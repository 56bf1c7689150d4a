"""Two runs compared: what differs in how they were made, and which of their models is better."""
