"""Dreams: what the decoder says between the codes of its training words, held against the rows of forms that it should know.

A code is drawn from the prior and written under a label drawn at random. Where the result is a word of a training row, the same
code must give the other forms of that row too: their distortion is added to the loss. Between two codes the decoder then still
chooses one verb, but the same for every label. What it chooses is left to it.

The idea is that of the sleep phase (Hinton et al. 1995, the wake-sleep algorithm), turned on the decoder's agreement with itself.
"""

import torch

from uncollapse.data.corpus import Corpus
from uncollapse.generation.decode import write
from uncollapse.model import VAE
from uncollapse.objectives import Dream


class Dreams:
    """Draws dreams about one corpus.

    Args:
        corpus: the training split, with rows of parallel forms.
        longest: most tokens of a form.
    """

    def __init__(self, corpus: Corpus, longest: int) -> None:
        self.corpus, self.longest, self.field = corpus, longest, corpus.form_field
        labels = corpus.labels[self.field].tolist()
        self.known = {(labels[i], tuple(corpus.ids(i).tolist())): i for i in range(len(corpus))}

    def draw(self, model: VAE, count: int) -> Dream | None:
        """Draw codes and recognise what they say; None where nothing is recognised.

        Args:
            model: its mode is restored afterwards.
            count: how many codes.
        """
        training, device = model.training, model.device
        labels = torch.randint(len(self.corpus.label_names[self.field]), (count,))
        z = model.prior.draw(count, device, {self.field: labels.to(device)}).detach()
        written = write(model.eval(), z, self.longest, {self.field: labels})
        model.train(training)
        found = [self.known.get((label, tuple(ids))) for label, ids in zip(labels.tolist(), written, strict=True)]
        rows = torch.tensor([i for i, known in enumerate(found) if known is not None], dtype=torch.long)
        if not len(rows):
            return None
        known = torch.tensor([i for i in found if i is not None]).numpy()
        awake = self.corpus.siblings(known, torch.rand(len(known)).double().numpy())
        return Dream(z[rows.to(device)], self.corpus.batch(awake).to(device), count)
