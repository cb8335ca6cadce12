"""Tasks: what is done with a VAE beyond the bound, each in a folder of its own."""
