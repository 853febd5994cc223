from itertools import product

import numpy as np
import torch

from models.knowledge.chain import SPANS, TAGS, chain_loss, forbidden, span_probabilities

RNG = np.random.default_rng(0)
WORDS = 3


def made_up(words=WORDS):
    scores = RNG.normal(size=(words, len(TAGS)))
    return scores, RNG.normal(size=(len(TAGS) + 1, len(TAGS))) + forbidden().numpy()


def weight_of(path, scores, chain):
    return chain[-1, path[0]] + sum(scores[t, y] for t, y in enumerate(path)) + chain[path[:-1], path[1:]].sum()


def all_paths(words=WORDS):
    return np.array(list(product(range(len(TAGS)), repeat=words)))


def probabilities(scores, chain):
    paths = all_paths(len(scores))
    weights = np.array([weight_of(p, scores, chain) for p in paths])
    p = np.exp(weights - weights.max())
    return paths, p / p.sum()


def test_the_loss_is_that_of_all_paths_counted_one_by_one():
    scores, chain = made_up()
    paths, p = probabilities(scores, chain)
    true = [0, 1, 2]  # nothing, then a target of two words
    wanted = -np.log(p[(paths == true).all(axis=1)][0]) / WORDS
    given = chain_loss(torch.tensor(scores[None]), torch.tensor(chain), torch.tensor([true]), torch.tensor([WORDS]))
    assert np.isclose(float(given), wanted)


def test_its_gradient_is_the_slope_and_padding_has_none():
    scores = torch.randn(2, 4, len(TAGS), dtype=torch.float64, requires_grad=True)
    chain = torch.randn(len(TAGS) + 1, len(TAGS), dtype=torch.float64, requires_grad=True)
    tags, lengths = torch.tensor([[0, 1, 2, 0], [3, 0, 0, 0]]), torch.tensor([4, 2])
    assert torch.autograd.gradcheck(lambda s, c: chain_loss(s, c, tags, lengths), (scores, chain))
    chain_loss(scores, chain, tags, lengths).backward()
    assert scores.grad is not None and float(scores.grad[1, 2:].abs().sum()) == 0


def test_a_span_is_as_likely_as_the_paths_that_hold_it():
    scores, chain = made_up()
    paths, p = probabilities(scores, chain)
    found = {(a, b, label): q for a, b, label, q in span_probabilities(scores, chain, least=0.01)}
    assert found
    for (a, b, label), q in found.items():
        begin = 1 + 2 * SPANS.index(label)
        holds = paths[:, a] == begin
        for t in range(a + 1, b):
            holds &= paths[:, t] == begin + 1
        if b < WORDS:
            holds &= paths[:, b] != begin + 1
        assert np.isclose(q, p[holds].sum())
