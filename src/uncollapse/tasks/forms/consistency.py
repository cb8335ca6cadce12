"""Training on rows of parallel forms: any form is decoded from any form, and codes of the prior must give consistent rows.

Consistency of forms: a code is drawn from the prior and written under a label drawn at random. Where the result is a word of a
training row, the same code must give the other forms of that row too: their distortion is added to the loss. Between two codes
the decoder then still chooses one verb, but the same for every label.

The idea is that of the sleep phase (Hinton et al. 1995, the wake-sleep algorithm), turned on the decoder's agreement with itself.
"""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from uncollapse.data.corpus import Batch, Corpus
from uncollapse.generation.decode import write
from uncollapse.latent import Source
from uncollapse.model import VAE
from uncollapse.schedules import Schedule
from uncollapse.tasks.forms.conversions import transfer_metrics
from uncollapse.training.task import Task


class FormsTask(Task):
    """Training on rows of parallel forms.

    Args:
        corpus: the training split.
        longest: most tokens of a form.
        translate: whether a form of the same row is decoded, drawn anew each time, and not the sentence itself.
        consistency: weight of the consistency of forms written from codes of the prior.
    """

    def __init__(self, corpus: Corpus, longest: int, translate: bool, consistency: Schedule) -> None:
        self.corpus, self.longest, self.field = corpus, longest, corpus.form_field
        self.translate, self.consistency = translate, consistency
        self.settles = consistency.settles

    @cached_property
    def known(self) -> dict[tuple[int, tuple[int, ...]], int]:
        """Return the sentence of each label and token ids."""
        labels = self.corpus.labels[self.field].tolist()
        return {(labels[i], tuple(self.corpus.ids(i).tolist())): i for i in range(len(self.corpus))}

    def target(self, batch: Batch) -> Batch:
        """Return the sentences themselves, or forms of the same rows."""
        if not self.translate:
            return batch
        forms = self.corpus.siblings(batch.index, torch.rand(len(batch)).double().numpy())
        return self.corpus.training_batch(forms).to(batch.tokens.device)

    def extra(self, model: VAE, count: int, step: int) -> Callable[[], Tensor] | None:
        """Draw codes and recognise the forms they give; return the distortion of other forms of the recognised rows.

        Codes that give no known form count as 0. The model's mode is restored.
        """
        weight = self.consistency(step)
        drawn = self.draw(model, count) if weight else None
        if drawn is None:
            return None
        z, forms = drawn
        return lambda: weight * model.distortion(forms, z[:, None]).sum() / count

    def draw(self, model: VAE, count: int) -> tuple[Tensor, Batch] | None:
        """Return the codes that give a known form, `[N, Z]`, and a form of the row of each; None where there are none."""
        training, device = model.training, model.device
        labels = torch.randint(len(self.corpus.label_names[self.field]), (count,))
        z = model.prior.sample(count, Source(device=device), {self.field: labels.to(device)}).detach()
        written = write(model.eval(), z, self.longest, {self.field: labels})
        model.train(training)
        found = [self.known.get((label, tuple(ids))) for label, ids in zip(labels.tolist(), written, strict=True)]
        rows = torch.tensor([i for i, known in enumerate(found) if known is not None], dtype=torch.long)
        if not len(rows):
            return None
        known = torch.tensor([i for i in found if i is not None]).numpy()
        forms = self.corpus.siblings(known, torch.rand(len(known)).double().numpy())
        return z[rows.to(device)], self.corpus.batch(forms).to(device)

    def measure(self, model: VAE, corpus: Corpus, rows: int | None = None) -> dict[str, float]:
        """Return how well forms are converted into each other: see `transfer_metrics`."""
        return transfer_metrics(model, corpus, self.longest, rows)
