"""Evaluation: from a model and a corpus to numbers that carry their protocol. Writes nothing."""
