"""The network: a backbone, task heads, analyzers and a signal chain, each trained by itself."""
