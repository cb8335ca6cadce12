"""A posterior of your own: an autoregressive flow, z_d = u_d + s_d tanh(z_(d-1)) with u Gaussian; no closed KL."""

from dataclasses import dataclass

import torch

import uncollapse as uc


@dataclass(frozen=True)
class Flow(uc.Posterior):
    mu: torch.Tensor  # [B, Z], as logvar and s
    logvar: torch.Tensor
    s: torch.Tensor

    def transform(self, noise):
        z = list(uc.Gaussian(self.mu, self.logvar).transform(noise).unbind(-1))
        for d in range(1, len(z)):
            z[d] = z[d] + self.s[:, None, d] * z[d - 1].tanh()
        return torch.stack(z, -1)

    def log_prob(self, z):  # du / dz is triangular with ones on its diagonal, so that q(z) = N(u; mu, sigma^2)
        before = torch.nn.functional.pad(z, (1, 0))[..., :-1]
        return uc.Gaussian(self.mu, self.logvar).log_prob(z - self.s[:, None] * before.tanh())


class FlowEncoder(torch.nn.Sequential):
    def forward(self, batch):
        return Flow(*super().forward(batch.tokens).chunk(3, -1))


splits = uc.data.load("my_sentences.txt")
size = len(splits.vocabulary)
encoder = FlowEncoder(torch.nn.EmbeddingBag(size, 128, padding_idx=uc.data.PAD), torch.nn.Linear(128, 3 * 16))
model = uc.VAE(encoder, uc.nn.RecurrentDecoder(size, emb=64, hidden=128, latent=16), uc.StandardNormal(16))
uc.fit(model, uc.Objective([uc.Penalty(target=5)]), splits, optimizer=lambda p: torch.optim.Adam(p, 3e-3), epochs=3)
print(uc.evaluate(model, splits.test))
