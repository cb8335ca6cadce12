"""How much faster is an epoch than the loop of the course labs, which takes one word, and one character, at a time?

    python benchmarks/one_word_at_a_time.py [--words 100] [--rounds 5] [--recipe verbs] [--threads 2]

Both train the same model, with the same weights, settings and words. The loop does what the labs do: a word is encoded character
by character, decoded character by character, and the optimizer steps after every word. Ours trains the recipe's batches at its
precision. The two alternate within one run; the ratio of the medians is printed, with the time per word of each.
"""

import argparse
import platform
import statistics
import time

import numpy as np
import torch

from uncollapse.data.labels import LabelSpace
from uncollapse.data.order import shuffled_batches
from uncollapse.runs.builders.data import build_splits
from uncollapse.runs.builders.model import build_model
from uncollapse.runs.builders.objective import build_objective
from uncollapse.runs.compose import compose


def one_word(model, batch, weight):
    """Return the loss of one word, read and written character by character."""
    encoder, decoder = model.encoder, model.decoder
    told, state = encoder.condition(batch.labels), None
    for t in range(batch.tokens.shape[1]):
        read = torch.cat([encoder.embedding(batch.tokens[:, t]), told], -1)
        states, state = encoder.cell(read[:, None], state)
    mu, logvar = encoder.posterior(states[:, 0]).chunk(2, -1)
    z = mu + (0.5 * logvar).exp() * torch.randn_like(mu)
    rate = 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()
    state, distortion = decoder.start(model.decoder_input(z, batch.labels)), 0.0
    for t in range(batch.inputs.shape[1]):
        logits, state = decoder.step(batch.inputs[:, t], state)
        distortion = distortion + torch.nn.functional.cross_entropy(logits, batch.targets[:, t])
    return distortion + weight * rate


def timed(step, batches):
    """Return seconds a word."""
    began, words = time.perf_counter(), 0
    for batch in batches:
        step(batch)
        words += len(batch)
    return (time.perf_counter() - began) / words


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, default=100, help="words of the loop in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--recipe", default="verbs")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    config = compose(asked.recipe, (), {"data": {"name": "verbs"}, "objective": {"translate": False}})
    splits = build_splits(config.data)
    corpus, size = splits.train, config.train.batch_size
    objective = build_objective(config, 100)
    weight = objective.weight(50)

    def fresh():
        model = build_model(
            config, len(corpus.vocabulary), corpus.lengths + 1, space=LabelSpace(corpus.label_names)
        ).train()
        return model, torch.optim.Adam(model.parameters(), config.optim.lr)

    def our_loss(batch):
        with torch.autocast("cpu", torch.bfloat16, enabled=config.train.precision == "bf16"):
            return objective(our_model, batch, 50).loss

    def clip_and_step(model, optimizer, loss):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip)
        optimizer.step()

    loop_model, loop_optimizer = fresh()
    our_model, our_optimizer = fresh()
    check(loop_model, our_model, corpus)
    words = np.random.default_rng(0).permutation(len(corpus))[: asked.words]
    singles = [corpus.batch([int(i)]) for i in words]
    order = shuffled_batches(corpus.lengths, size, 0, epoch=0)
    loop, ours = [], []
    for number in range(asked.rounds + 1):  # the first round warms up
        slow = timed(lambda b: clip_and_step(loop_model, loop_optimizer, one_word(loop_model, b, weight)), singles)
        batches = (corpus.batch(order[(20 * number + i) % len(order)]) for i in range(20))
        fast = timed(lambda b: clip_and_step(our_model, our_optimizer, our_loss(b)), batches)
        if number:
            loop.append(slow)
            ours.append(fast)
    ratio = statistics.median(loop) / statistics.median(ours)
    print(f"{platform.processor() or platform.machine()}, {asked.threads} threads, torch {torch.__version__}")
    print(
        f"recipe {asked.recipe}, batch {size}, {len(corpus):,} words an epoch, medians of {asked.rounds} alternated rounds"
    )
    for name, values in (("one word at a time", loop), ("ours", ours)):
        middle = statistics.median(values)
        spread = f"(from {1e3 * min(values):.3f} to {1e3 * max(values):.3f})"
        print(f"{name:<20} {1e3 * middle:8.3f} ms a word {spread}   {middle * len(corpus):8.1f} s an epoch")
    print(f"ratio {ratio:.1f}")


def check(one, other, corpus):
    """Make sure that the two compute the same distortion and rate."""
    other.load_state_dict(one.state_dict())
    batch = corpus.batch([3])
    torch.manual_seed(0)
    by_loop = float(one_word(one.eval(), batch, 1.0).detach())
    torch.manual_seed(0)
    q = other.eval().posterior(batch)
    z = q.transform(torch.randn(1, 1, other.latent))
    expected = float((other.distortion(batch, z).sum() + other.rate(q, z).sum()).detach())
    assert abs(by_loop - expected) < 1e-3 * abs(expected), (by_loop, expected)
    one.train(), other.train()


if __name__ == "__main__":
    main()
