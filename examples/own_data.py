"""Data of your own: a torch DataLoader over your records."""

import json
from pathlib import Path

import torch
from torch.utils.data import DataLoader

import uncollapse as uc

records = [json.loads(line) for line in Path("records.jsonl").read_text().splitlines()]
train, valid = records[200:], records[:200]
vocabulary = uc.data.build_vocabulary([record["text"] for record in train], level="char")


def collate(rows):
    corpus = uc.data.Corpus.from_texts([row["text"] for row in rows], vocabulary)
    return corpus.batch(range(len(corpus)))


def batches(epoch):  # the same epoch has the same order, so that a resumed training goes on exactly
    order = torch.Generator().manual_seed(epoch)
    return DataLoader(train, batch_size=32, shuffle=True, generator=order, collate_fn=collate)


encoder = uc.nn.RecurrentEncoder(len(vocabulary), emb=32, hidden=128, latent=16, cell="gru")
decoder = uc.nn.RecurrentDecoder(len(vocabulary), emb=32, hidden=128, latent=16, cell="gru")
model = uc.VAE(encoder, decoder, uc.StandardNormal(16))
held = uc.data.Corpus.from_texts([record["text"] for record in valid], vocabulary)
objective = uc.Objective([uc.Penalty(uc.kl, weight=0.1, target=5.0, target_kind="controller")])
uc.fit(model, objective, (batches, held), optimizer=lambda p: torch.optim.Adam(p, 2e-3), epochs=2)
print(uc.evaluate(model, held))
