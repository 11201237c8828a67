"""Tiny models with a tokenizer, as servers load them: python made_model.py FOLDER writes chat, reward and tiny there.

The first two have random weights; the third is the model of `sim.adapters.tiny`. Run by an interpreter that has
transformers, and need not have what the project needs. Nothing is downloaded.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Any

CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def main(folder: Path) -> None:
    """Two Llamas of two layers and random weights: one that talks, one that gives a number."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

    torch.manual_seed(0)
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(["what is the digit"] * 9, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>", chat_template=CHAT
    )
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=512, **sizes, **ends)
    talks = LlamaForCausalLM(config)
    talks.generation_config.do_sample = True  # or `transformers serve` takes the likeliest token, whatever is asked
    talks.save_pretrained(folder / "chat")
    config.num_labels = 1
    LlamaForSequenceClassification(config).save_pretrained(folder / "reward")
    for name in ("chat", "reward"):
        tokenizer.save_pretrained(folder / name)
    export(folder / "tiny")


def export(folder: Path) -> None:
    """Write the model that comes with the project, its weights laid out as a Llama's, and its tokenizer."""
    from safetensors.torch import load_file
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = _tokenizer()
    raw = Tokenizer(models.WordLevel(words.SUMS.ids, unk_token="<unknown>"))
    raw.normalizer = normalizers.Lowercase()
    whole = [token for token in words.SUMS.tokens if len(token) > 1 and token not in words.MARKERS]
    known = rf"(?<![a-z])(?:{'|'.join(whole)})(?![a-z])"
    raw.pre_tokenizer = pre_tokenizers.Split(Regex(rf"{known}|\S"), behavior="removed", invert=True)
    layout = "<bos>{% for m in messages %}{% if m['role'] == 'user' %}<user>{% endif %}{{ m['content'] }}{% endfor %}"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unknown>",
        extra_special_tokens=["<user>", "<reply>"],
        chat_template=f"{layout}<reply>",
    )
    found = load_file(words.__file__.replace("tokenizer.py", "weights.safetensors"))
    layers, width, _ = found["mix"].shape
    config = LlamaConfig(
        vocab_size=len(words.SUMS.tokens),
        hidden_size=width,
        intermediate_size=found["down"].shape[1],
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        max_position_embeddings=64,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
        pad_token_id=words.PAD,
        bos_token_id=words.BOS,
        eos_token_id=words.EOS,
        tie_word_embeddings=False,
    )
    parts = {"model.embed_tokens": found["embed"], "model.norm": found["norm"], "lm_head": found["head"].T}
    for layer in range(layers):
        own = {name: found[name][layer] for name in found if found[name].ndim > 1}
        attention = zip("qkv", own["query_key_value"].T.chunk(3), strict=True)
        parts |= {f"model.layers.{layer}.self_attn.{name}_proj": part for name, part in attention}
        gate, up = own["gate_up"].T.chunk(2)
        mlp = {"gate_proj": gate, "up_proj": up, "down_proj": own["down"].T}
        parts |= {f"model.layers.{layer}.mlp.{name}": part for name, part in mlp.items()}
        parts |= {
            f"model.layers.{layer}.self_attn.o_proj": own["mix"].T,
            f"model.layers.{layer}.input_layernorm": own["attention_norm"],
            f"model.layers.{layer}.post_attention_layernorm": own["feed_norm"],
        }
    model = LlamaForCausalLM(config)
    model.load_state_dict({f"{name}.weight": part.contiguous() for name, part in parts.items()})
    model.generation_config.do_sample = True
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer() -> Any:
    """The module of the model's vocabulary, which needs nothing else, without the package around it."""
    file = Path(__file__).resolve().parents[2] / "sim" / "adapters" / "tiny" / "tokenizer.py"
    spec = importlib.util.spec_from_file_location("tiny_tokenizer", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main(Path(sys.argv[1]))
