"""Posteriors and priors of the latent code, and divergences between them."""
