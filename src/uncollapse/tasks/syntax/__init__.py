"""Minimal pairs of English syntax: a right and a wrong sentence that differ in what one rule decides."""
