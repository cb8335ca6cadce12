import pytest

from uncollapse.evaluation.overlap import token_accuracy


@pytest.mark.parametrize(
    ("originals", "written", "share"),
    [
        ([[1, 2, 3]], [[1, 2, 3]], 1),
        ([[1, 2, 3, 4]], [[1, 9, 3]], 0.5),
        ([[1, 2]], [[1, 2, 3, 4]], 1),
        ([[1], [2, 3, 4]], [[1], []], 0.25),
        ([[]], [[5]], 0),
    ],
)
def test_the_share_of_tokens_in_their_places(originals, written, share):
    assert token_accuracy(originals, written) == share
