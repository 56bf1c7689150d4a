"""The four parts of a corpus, and the proof that nothing leaks across them."""
