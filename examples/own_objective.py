"""A loss of your own: the ELBO plus a charge for dimensions whose mean varies too little over the batch."""

import matplotlib.pyplot as plt
import torch

import uncollapse as uc


def spread_objective(model, batch, step):
    posterior = model.posterior(batch)
    z = posterior.transform(posterior.noise(len(batch), 1))
    distortion, rate = model.distortion(batch, z).squeeze(1), model.rate(posterior, z)
    missing = (0.5 - posterior.mu.var(0)).relu().sum()
    return uc.Terms((distortion + rate).mean() + missing, distortion, rate)


splits = uc.data.load("my_sentences.txt")
size = len(splits.vocabulary)
for name, objective in {"ELBO": uc.Objective([uc.Penalty(uc.kl)]), "ELBO and spread": spread_objective}.items():
    encoder = uc.nn.RecurrentEncoder(size, emb=64, hidden=128, latent=16)
    decoder = uc.nn.RecurrentDecoder(size, emb=64, hidden=128, latent=16)
    model = uc.VAE(encoder, decoder, uc.StandardNormal(16))
    uc.fit(model, objective, splits, optimizer=lambda p: torch.optim.AdamW(p, 3e-3), epochs=2)
    evaluation = uc.evaluate(model, splits.test)
    print(f"{name}\n{evaluation}")
    plt.plot(sorted(evaluation.scores.posterior.mean.var(0), reverse=True), marker="o", label=name)
plt.xlabel("dimension of z"), plt.ylabel("variance of the posterior mean"), plt.legend(), plt.savefig("spread.png")
