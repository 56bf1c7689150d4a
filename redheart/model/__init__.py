"""The network: backbone, heads, analyzers, signal chain, lexical branch, and their states."""
