"""Encoders, decoders and the output layer."""
