"""The heart: what teachers believe, kept on disk, and the loss that learns from it. No fairseq, no recipes."""
