"""Training on rows of parallel forms: any form is decoded from any form, and codes of the prior must give consistent rows.

Consistency of forms: a code is drawn from the prior and written under a label drawn at random. Where the result is a word of a
training row, the same code must give the other forms of that row too: their distortion is added to the loss. Between two codes
the decoder then still chooses one verb, but the same for every label.

The idea is that of the sleep phase (Hinton et al. 1995, the wake-sleep algorithm), turned on the decoder's agreement with itself.
"""

from functools import cached_property

import torch
from torch import Tensor

from uncollapse.data.corpus import Batch, Corpus
from uncollapse.distributions.priors import Source
from uncollapse.generation.decode import generate_ids
from uncollapse.model import VAE, evaluation_mode
from uncollapse.objectives import ForwardPass
from uncollapse.schedules import Schedule


class Translation:
    """What is decoded from the code of each sentence: a form of the same row, drawn anew each time.

    Args:
        corpus: the training split.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus

    def __call__(self, batch: Batch) -> Batch:
        """Return a form of the row of each sentence."""
        forms = self.corpus.siblings(batch.index, torch.rand(len(batch)).double().numpy())
        return self.corpus.training_batch(forms).to(batch.tokens.device)


class FormConsistency:
    """An extra of the objective: the distortion of other forms, from codes of the prior that gave a known form.

    Args:
        corpus: the training split.
        length_limit: most tokens of a form.
        weight: by the step.
    """

    def __init__(self, corpus: Corpus, length_limit: int, weight: Schedule) -> None:
        self.corpus, self.length_limit, self.field, self.weight = corpus, length_limit, corpus.form_field, weight
        self.settles = weight.settles

    @cached_property
    def known(self) -> dict[tuple[int, tuple[int, ...]], int]:
        """Return the sentence of each label and token ids."""
        labels = self.corpus.labels[self.field].tolist()
        return {(labels[i], tuple(self.corpus.ids(i).tolist())): i for i in range(len(self.corpus))}

    def __call__(self, forward: ForwardPass, step: int) -> Tensor:
        """Return the weighted distortion, a mean over as many codes as the batch has sentences.

        Codes that give no known form count as 0.
        """
        model, count, weight = forward.model, len(forward.batch), self.weight(step)
        drawn = self.draw(model, count) if weight else None
        if drawn is None:
            return forward.z.new_zeros(())
        z, forms = drawn
        return weight * model.distortion(forms, z[:, None]).sum() / count

    def draw(self, model: VAE, count: int) -> tuple[Tensor, Batch] | None:
        """Return the codes that give a known form, `[N, Z]`, and a form of the row of each; None where there are none."""
        device = model.device
        labels = torch.randint(len(self.corpus.label_names[self.field]), (count,))
        z = model.prior.sample(count, Source(device=device), {self.field: labels.to(device)}).detach()
        with evaluation_mode(model):
            written = generate_ids(model, z, self.length_limit, labels={self.field: labels})
        sentences = [self.known.get((label, tuple(ids))) for label, ids in zip(labels.tolist(), written, strict=True)]
        rows = torch.tensor([i for i, sentence in enumerate(sentences) if sentence is not None], dtype=torch.long)
        if not len(rows):
            return None
        known = torch.tensor([i for i in sentences if i is not None]).numpy()
        forms = self.corpus.siblings(known, torch.rand(len(known)).double().numpy())
        return z[rows.to(device)], self.corpus.batch(forms).to(device)
