"""Completions of several requests at a time: prompts read once, then one token of every row per step, from a cache.

Shapes are fixed, so that a completion depends on its own request and seed alone, not on what else is under way.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from sim.adapters.tiny.model import Cache, Params, empty_cache, forward
from sim.adapters.tiny.tokenizer import BOS, EOS, MARKERS, PAD, REPLY, SUMS, UNKNOWN, USER, Vocabulary

PROMPTS, ROWS = 16, 64
"""Prompts and completions that are under way at a time."""
MAX_PROMPT, CONTEXT = 48, 64
"""Most tokens of a prompt; of a prompt and its completion."""
NEVER = np.isin(np.arange(len(MARKERS)), (PAD, BOS, USER, REPLY, UNKNOWN))
"""Which markers, the first tokens of every vocabulary, no completion holds."""


class Draft(NamedTuple):
    """One completion to make.

    Attributes:
        prompt: tokens, at most `MAX_PROMPT`.
        seed: 0..2^64 - 1; two rows that differ in it alone are independent.
        temperature: 0 for the likeliest token, else what logits are divided by.
        top_p: tokens outside the smallest set that holds this probability are left out.
        max_tokens: most tokens, the end marker counted.
    """

    prompt: tuple[int, ...]
    seed: int
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = CONTEXT


class Generated(NamedTuple):
    """Text, tokens spent (the end marker counted), and "stop" or "length"."""

    text: str
    tokens: int
    finish: str


class Settings(NamedTuple):
    """Requests of the rows of a batch."""

    lengths: Int[Array, " row"]
    keys: UInt32[Array, "row two"]
    temperature: Float[Array, " row"]
    top_p: Float[Array, " row"]
    limits: Int[Array, " row"]


def complete(params: Params, rows: list[Draft], vocabulary: Vocabulary = SUMS) -> list[Generated]:
    """Completions of up to `ROWS` rows with up to `PROMPTS` different prompts, in order."""
    places = {prompt: place for place, prompt in enumerate(dict.fromkeys(row.prompt for row in rows))}
    if len(rows) > ROWS or len(places) > PROMPTS:
        raise ValueError(f"{len(rows)} rows of {len(places)} prompts; at most {ROWS} rows of {PROMPTS} prompts fit")
    prompts = np.full((PROMPTS, MAX_PROMPT), PAD, np.int32)
    for prompt, place in places.items():
        prompts[place, : len(prompt)] = prompt
    filled = rows + [rows[0]._replace(max_tokens=0)] * (ROWS - len(rows))
    lengths = np.array([len(row.prompt) for row in filled], np.int32)
    seeds = np.array([row.seed for row in filled], np.uint64)
    settings = Settings(
        lengths=jnp.asarray(lengths),
        keys=jnp.asarray(np.stack([seeds >> np.uint64(32), seeds & np.uint64(2**32 - 1)], -1).astype(np.uint32)),
        temperature=jnp.array([row.temperature for row in filled], jnp.float32),
        top_p=jnp.array([row.top_p for row in filled], jnp.float32),
        limits=jnp.asarray(np.minimum([row.max_tokens for row in filled], CONTEXT - lengths).astype(np.int32)),
    )
    which = np.array([places[row.prompt] for row in filled], np.int32)
    written = np.asarray(_complete(params, prompts, which, settings))
    return [_read(tokens, vocabulary) for tokens in written[: len(rows)]]


def _read(tokens: Int[np.ndarray, " token"], vocabulary: Vocabulary) -> Generated:
    spent = int((tokens != PAD).sum())
    return Generated(vocabulary.decode(tokens.tolist()), spent, "stop" if EOS in tokens else "length")


@jax.jit
def _complete(
    params: Params, prompts: Int[Any, "prompt token"], which: Int[Any, " row"], settings: Settings
) -> Int[Array, "row step"]:
    """Tokens written; `PAD` after the last."""
    positions = jnp.broadcast_to(jnp.arange(MAX_PROMPT)[None], prompts.shape)
    logits, read = forward(params, prompts, positions, empty_cache(params, PROMPTS, CONTEXT))
    cache = jax.tree.map(lambda part: part[:, which], read)
    last = logits[which, settings.lengths - 1]
    written = jnp.full((ROWS, CONTEXT), PAD, jnp.int32)

    def unfinished(state: tuple) -> Bool[Array, ""]:
        return jnp.any(state[-1])

    def step(state: tuple[Array, Array, Cache, Array, Array]) -> tuple:
        number, last, cache, written, going = state
        token = jnp.where(going, choose(last, number, settings), PAD)
        written = written.at[:, number].set(token)
        going = going & (token != EOS) & (number + 1 < settings.limits)
        places = jnp.minimum(settings.lengths + number, CONTEXT - 1)
        logits, cache = forward(params, token[:, None], places[:, None], cache)
        return number + 1, logits[:, 0], cache, written, going

    start = (jnp.asarray(0), last, cache, written, settings.limits > 0)
    return jax.lax.while_loop(unfinished, step, start)[3]


def choose(logits: Float[Array, "row vocabulary"], number: Int[Array, ""], settings: Settings) -> Int[Array, " row"]:
    """Token number `number` of each row: a draw by the Gumbel trick, from a stream of the row's own."""
    logits = logits.at[:, np.flatnonzero(NEVER)].set(-jnp.inf)
    warmth = settings.temperature[:, None]
    ordered = jnp.sort(jax.nn.softmax(logits / jnp.maximum(warmth, 1e-6)), descending=True)
    before = jnp.cumsum(ordered, -1) - ordered
    least = jnp.min(jnp.where(before < settings.top_p[:, None], ordered, jnp.inf), -1, keepdims=True)
    kept = jax.nn.softmax(logits / jnp.maximum(warmth, 1e-6)) >= least

    def noise(key: UInt32[Array, " two"]) -> Float[Array, " vocabulary"]:
        own = jax.random.fold_in(jax.random.wrap_key_data(key, impl="threefry2x32"), number)
        return jax.random.gumbel(own, logits.shape[-1:])

    return jnp.argmax(jnp.where(kept, logits + warmth * jax.vmap(noise)(settings.keys), -jnp.inf), -1)
