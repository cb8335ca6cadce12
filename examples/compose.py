"""An encoder of your own: any module from a batch to q(z | x), here the mean of embeddings and a linear map."""

import torch
from torch import nn

import uncollapse as uc


class MeanEncoder(nn.Sequential):
    def forward(self, batch):
        mu, logvar = super().forward(batch.tokens).chunk(2, -1)
        return uc.Gaussian(mu, logvar)


splits = uc.data.load("my_sentences.txt")
size = len(splits.vocabulary)
model = uc.VAE(
    encoder=MeanEncoder(nn.EmbeddingBag(size, 128, padding_idx=uc.data.PAD), nn.Linear(128, 2 * 16)),
    decoder=uc.nn.RecurrentDecoder(size, emb=64, hidden=128, latent=16),
    prior=uc.StandardNormal(16),
)
objective = uc.Objective([uc.Penalty(uc.kl, target=uc.linear(0, 5, steps=200))])
watch = [uc.callbacks.Log("out/log.jsonl"), uc.callbacks.Checkpoint("out"), uc.callbacks.Progress()]
uc.fit(model, objective, splits, optimizer=lambda p: torch.optim.AdamW(p, 3e-3), epochs=3, callbacks=watch)
print(uc.evaluate(model, splits.test))
print(*uc.generate(model, 5, vocabulary=splits.vocabulary, strategy="nucleus", top_p=0.9), sep="\n")
