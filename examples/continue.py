"""Go on from an earlier run with another corpus: its weights are the start, its encoder stays as it is."""

import torch

import uncollapse as uc

run = uc.train(data={"path": "my_sentences.txt"}, train={"epochs": 2}, out="runs/first")  # or uc.load("runs/first")
splits = uc.data.load("more_sentences.txt", vocabulary=run.vocabulary)
print("before", uc.evaluate(run.model, splits.test), sep="\n")

run.model.encoder.requires_grad_(False)
objective = uc.Objective([uc.Penalty(uc.kl, target=5)])
checkpoint = uc.callbacks.Checkpoint("second")
uc.fit(run.model, objective, splits, optimizer=lambda p: torch.optim.Adam(p, 1e-3), epochs=2, callbacks=[checkpoint])
print("after", uc.evaluate(run.model, splits.test), sep="\n")

# The same from the command line, as a run of its own:
# uncollapse train --data.path more_sentences.txt --init-from runs/first --freeze encoder --out runs/second
