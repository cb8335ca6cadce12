"""Data: from files or embedded generators to three splits of one corpus."""
