"""PSST in NumPy, vectorised over trials: the second of two NumPy programs that `sim` is timed against.

The first, `psst_numpy` in `tests/support/reference.py`, runs one trial at a time. Here all trials of a chunk share
every array operation, so that what Python itself costs is divided among them, and votes are counted in bytes.
"""

import numpy as np

NEVER = -1e6
"""Score of an arm that was never pulled: below all utilities, and exact beside the words that break ties."""
TIE = 1e-9
"""Range of the words that break ties, less than two different estimates are apart."""
CHUNK = 64


def psst(
    probs: np.ndarray,
    num_train: int,
    cost: np.ndarray,
    weight: np.ndarray,
    max_scale: int,
    budget: int,
    trials: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Trials of PSST on a majority-vote world: hard budget, samples kept, ties at random, 1/t credit.

    Args:
        probs: answer probabilities, (prompt, query, answer), the right answer first.
        num_train: queries that each trial trains on.
        cost: utility that one completion costs, (context, prompt).
        weight: weight of the vote's credit, (context,).
        max_scale: Nmax.
        budget: T.
        trials: how many.
        seed: of NumPy's generator.

    Returns:
        Prompt and scale, (trial, context), and the completions spent, (trial,).
    """
    rng = np.random.default_rng(seed)
    below = np.cumsum(probs[..., :-1], axis=2, dtype=np.float32)
    sizes = [min(CHUNK, trials - done) for done in range(0, trials, CHUNK)]
    parts = [_chunk(below, num_train, cost, weight, max_scale, budget, size, rng) for size in sizes]
    arms, spent = (np.concatenate(part) for part in zip(*parts, strict=True))
    return arms // max_scale, arms % max_scale + 1, spent


def _chunk(
    below: np.ndarray,
    num_train: int,
    cost: np.ndarray,
    weight: np.ndarray,
    max_scale: int,
    budget: int,
    trials: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    num_prompts, num_queries = below.shape[:2]
    num_contexts, num_arms = len(weight), num_prompts * max_scale
    train = rng.random((trials, num_queries), dtype=np.float32).argsort(axis=1)[:, :num_train]
    scales = np.arange(1, max_scale + 1)
    costs = (cost[:, :, None] * scales).reshape(num_contexts, num_arms)
    arms = np.tile(np.arange(num_arms), (trials, num_contexts, 1))
    total, blocks = np.zeros((2, trials * num_prompts, max_scale))
    spent, trial, context = np.zeros(trials, int), np.arange(trials)[:, None], np.arange(num_contexts)[:, None]
    num_rounds = max(1, (num_arms - 1).bit_length())
    for done in range(num_rounds):
        anywhere = np.zeros((trials, num_arms), bool)
        anywhere[trial, arms.reshape(trials, -1)] = True
        wanted = anywhere.reshape(trials, num_prompts, max_scale)
        largest = (wanted * scales).max(axis=2)
        allowance = budget * (done + 1) // num_rounds - budget * done // num_rounds
        size, pulls = _equal_pulls(allowance, largest, rng)
        spent += (size * pulls).sum(axis=1)
        _pull(below, train, size.ravel(), pulls.ravel(), np.any(wanted, axis=(0, 1)), total, blocks, rng)
        seen = blocks.reshape(trials, num_arms)[trial[:, :, None], arms]
        sums = total.reshape(trials, num_arms)[trial[:, :, None], arms]
        score = weight[:, None] * (sums / np.maximum(seen, 1)) - costs[context, arms]
        score = np.where(seen > 0, score, NEVER) + TIE * rng.random(score.shape, dtype=np.float32)
        kept = (arms.shape[2] + 1) // 2
        best = np.argpartition(-score, kept - 1, axis=2)[:, :, :kept]
        arms = np.take_along_axis(arms, best, axis=2)
    return arms[:, :, 0], spent


def _equal_pulls(allowance: int, largest: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Scale and pulls per (trial, prompt): as many of each as fit, or one each in a random order while they fit."""
    together = largest.sum(axis=1, keepdims=True)
    order = rng.random(largest.shape).argsort(axis=1)
    before = np.take_along_axis(largest, order, axis=1).cumsum(axis=1)
    left = np.empty_like(largest)
    np.put_along_axis(left, order, allowance - (before - np.take_along_axis(largest, order, axis=1)), axis=1)
    some = np.clip(np.minimum(left, largest), 0, None)
    size = np.where(together <= allowance, largest, some)
    return size, np.where(size > 0, np.maximum(allowance // together, 1), 0)


def _pull(
    below: np.ndarray,
    train: np.ndarray,
    size: np.ndarray,
    pulls: np.ndarray,
    wanted: np.ndarray,
    total: np.ndarray,
    blocks: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Draw all pulls of a round and add their block credits of the wanted scales to `total` and `blocks`."""
    slots = np.flatnonzero(pulls)
    row = np.repeat(slots, pulls[slots])
    trial, prompt = np.divmod(row, below.shape[0])
    query = train[trial, rng.integers(train.shape[1], size=len(row))]
    width = int(size.max())
    words = rng.random((width, len(row)), dtype=np.float32)
    thresholds = below[prompt, query].T
    label = np.zeros(words.shape, np.int8)
    for threshold in thresholds:
        label += words >= threshold
    votes = np.zeros((len(thresholds) + 1, width + 1, len(row)), np.int8 if width < 128 else np.int16)
    for answer in range(len(votes)):
        np.cumsum(label == answer, axis=0, dtype=votes.dtype, out=votes[answer, 1:])
    kept = np.flatnonzero(wanted[:width]) + 1
    per_scale = width // kept
    ends = np.concatenate([np.arange(1, n + 1) * k for k, n in zip(kept, per_scale, strict=True)])
    starts = ends - np.repeat(kept, per_scale)
    gold = votes[0, ends] - votes[0, starts]
    beaten, tied = gold == 0, np.ones(gold.shape, np.int8)
    for other in votes[1:]:
        cast = other[ends] - other[starts]
        beaten |= cast > gold
        tied += cast == gold
    beaten |= ends[:, None] > size[row]
    share = np.append(0.0, 1.0 / np.arange(1, len(votes) + 1)).astype(np.float32)
    credit = share[np.where(beaten, 0, tied)]
    credit = np.add.reduceat(credit, np.cumsum(per_scale) - per_scale, axis=0)
    credit = np.add.reduceat(credit, np.cumsum(pulls[slots]) - pulls[slots], axis=1)
    total[slots[:, None], kept - 1] += credit.T
    blocks[slots[:, None], kept - 1] += pulls[slots, None] * (size[slots, None] // kept)
