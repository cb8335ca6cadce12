"""The embedded corpus `synthetic`: integer tokens from a random LSTM over a 2-d mixture latent.

After He et al. 2019, appendix B.1: z comes from four unit Gaussians at (+-2, +-2); an LSTM with 100 hidden units starts at an
affine map of z; each token comes from the LSTM's output and z, mapped to 1000 tokens. The weights are drawn from
U(-1, 1), those from z to the vocabulary from U(-5, 5), so that z matters. Sentences have 10 tokens.
"""

import numpy as np
import torch

VOCABULARY, LENGTH, WIDTH, LATENT = 1000, 10, 100, 2


class Generator:
    """The random LSTM; the same seed makes the same language."""

    def __init__(self, seed: int) -> None:
        random = torch.Generator().manual_seed(seed % 2**64)

        def uniform(bound: float, *shape: int) -> torch.Tensor:
            return (2 * torch.rand(*shape, generator=random) - 1) * bound

        self.embedding = uniform(1, VOCABULARY + 1, WIDTH)
        self.start = uniform(1, LATENT, WIDTH)
        self.cell = torch.nn.LSTMCell(WIDTH, WIDTH)
        for parameter in self.cell.parameters():
            parameter.data = uniform(1, *parameter.shape)
        self.from_hidden = uniform(1, WIDTH, VOCABULARY)
        self.from_latent = uniform(5, LATENT, VOCABULARY)

    @torch.no_grad()
    def sample(self, count: int, seed: list[int]) -> tuple[list[str], dict[str, list[str]]]:
        """Draw sentences and the mixture component that each came from."""
        random = np.random.default_rng(seed)
        component = random.integers(4, size=count)
        centres = np.array([[-2, -2], [-2, 2], [2, -2], [2, 2]])[component]
        z = torch.from_numpy((centres + random.standard_normal((count, LATENT))).astype(np.float32))
        hidden = z @ self.start
        memory = torch.zeros_like(hidden)
        token = torch.full((count,), VOCABULARY)
        rows = []
        for _ in range(LENGTH):
            hidden, memory = self.cell(self.embedding[token], (hidden, memory))
            probability = (hidden @ self.from_hidden + z @ self.from_latent).softmax(-1).double().cumsum(-1)
            uniform = torch.from_numpy(random.random((count, 1)))
            token = torch.searchsorted(probability, uniform * probability[:, -1:]).squeeze(1).clamp(max=VOCABULARY - 1)
            rows.append(token)
        sentences = [" ".join(map(str, row)) for row in torch.stack(rows, 1).tolist()]
        return sentences, {"component": [str(c) for c in component]}
