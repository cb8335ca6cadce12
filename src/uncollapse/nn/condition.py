"""The condition c of a conditional model, from the labels of a sentence."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from uncollapse.data.labels import Labels


class Condition(nn.Module):
    """The labels of a sentence as one vector: an embedding, or a one-hot vector, of every field, side by side.

    Args:
        classes: for each field, how many classes it has.
        width: of each embedding; 0 for one-hot vectors.
    """

    def __init__(self, classes: Mapping[str, int], width: int) -> None:
        super().__init__()
        self.classes = dict(classes)
        self.tables = nn.ModuleList(nn.Embedding(count, width) for count in self.classes.values() if width)
        self.width = sum(width or count for count in self.classes.values())

    def forward(self, labels: Labels) -> Tensor:
        """Return the vector of each sentence, `[B, width]`, for classes `[B]` a field."""
        if self.tables:
            return torch.cat([table(labels[field]) for field, table in zip(self.classes, self.tables, strict=True)], -1)
        vectors = (nn.functional.one_hot(labels[field], count) for field, count in self.classes.items())
        return torch.cat(list(vectors), -1).to(torch.get_default_dtype())
