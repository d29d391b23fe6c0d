"""The decoder in 8 bit through ONNX Runtime: wrapped around a loaded one from outside.

Its layers become one graph of ONNX Runtime's own operators, built in memory in a second
or two. What happens once a generation (text and tune) or is a mere look-up (embeddings,
positions) stays in torch. Weights are kept in blocks of 64 numbers with a scale each,
and multiplied as whole numbers; keys and values are float32, written in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper
from torch import nn

from musicgen_space.engine.model import Condition, Decoder, DecoderLayer, DecoderState

__all__ = ["OnnxDecoder", "OnnxState"]

_BLOCK = 64
_OWN = "com.microsoft"  # where ONNX Runtime's operators live beside the standard's


@dataclass(slots=True, eq=False)
class OnnxState:
    """The memory of one generation; ``binding`` ties its tensors to the graph's names."""

    torch_state: DecoderState
    binding: Any
    bound: dict[str, torch.Tensor]


class OnnxDecoder:
    """Codes in, logits of the next codes out, as ``Decoder`` does."""

    def __init__(self, decoder: Decoder, *, threads: int) -> None:
        self.config = decoder.config
        self._decoder = decoder
        graph = _Graph(decoder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        given = {n: w for n, w in graph.weights.items() if w.dtype != np.int64}
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(weight) for weight in given.values()]
        options.add_external_initializers(list(given), values)
        self._session = onnxruntime.InferenceSession(graph.serialised(), options, ["CPUExecutionProvider"])

    def prefill(
        self, codes: torch.Tensor, condition: Condition, *, columns: int
    ) -> tuple[torch.Tensor, OnnxState]:
        """Start a generation of up to ``columns`` columns with ``codes`` [B, K, S]."""
        state, prefix = self._decoder.start(condition, columns)
        mine = OnnxState(state, self._session.io_binding(), {})
        texts = state.text_caches[0].shape[1] if state.text_caches else 0
        if texts:
            self._bind(mine, "texts", torch.tensor([texts]))
            self._bind(mine, "pads", torch.tensor([0, 0, 0, state.rows - texts, 0, 0]))
        for index, cache in enumerate(state.caches):
            for name, tensor in zip(("keys", "values"), cache.unbind(), strict=True):
                self._bind(mine, f"{name}{index}", tensor)
                self._bind(mine, f"new_{name}{index}", tensor, output=True)
        for index, cache in enumerate(state.text_caches):
            for name, tensor in zip(("text_keys", "text_values"), cache.unbind(), strict=True):
                self._bind(mine, f"{name}{index}", tensor)
        return self._advance(codes, mine, prefix), mine

    def decode(self, codes: torch.Tensor, state: OnnxState) -> torch.Tensor:
        """Add one column ``codes`` [B, K]; → logits of the next one [R, K, V]."""
        return self._advance(codes.unsqueeze(-1), state)

    def _advance(
        self, codes: torch.Tensor, state: OnnxState, prefix: torch.Tensor | None = None
    ) -> torch.Tensor:
        inner, config = state.torch_state, self.config
        hidden = self._decoder.enter(codes, inner, prefix)
        rows, columns, _ = hidden.shape
        self._bind(state, "hidden", hidden)
        self._bind(state, "last", torch.full((rows,), inner.length - 1, dtype=torch.int32))
        self._bind(state, "length", torch.tensor([inner.length], dtype=torch.int32))
        if inner.text_caches:
            texts, tokens = inner.text_caches[0].shape[1], inner.text_caches[0].shape[3]
            bias = torch.zeros(texts, 1, columns, tokens)
            if inner.text_mask is not None:
                bias.masked_fill_(~inner.text_mask, -1e9)
            self._bind(state, "bias", bias)
        logits = torch.empty(rows, 1, config.codebooks * config.codebook_size)
        self._bind(state, "logits", logits, output=True)
        self._session.run_with_iobinding(state.binding)
        return logits.view(rows, config.codebooks, config.codebook_size)

    @staticmethod
    def _bind(state: OnnxState, name: str, tensor: torch.Tensor, *, output: bool = False) -> None:
        tensor = tensor if output else tensor.contiguous()
        bind = state.binding.bind_output if output else state.binding.bind_input
        kind = {torch.float32: np.float32, torch.int64: np.int64, torch.int32: np.int32}
        bind(name, "cpu", 0, kind[tensor.dtype], tuple(tensor.shape), tensor.data_ptr())
        state.bound[name] = tensor  # it must live as long as it is bound


class _Graph:
    """ONNX Runtime's graph of a decoder's layers, and the ``weights`` that it names."""

    def __init__(self, decoder: Decoder) -> None:
        self.weights: dict[str, np.ndarray] = {}
        self._nodes: list[Any] = []
        config = decoder.config
        self._config = config
        hidden, delta = "hidden", None
        for index, layer in enumerate(decoder.layers):
            hidden, delta = self._layer(hidden, delta, layer, index)
        normed, _ = self._norm(hidden, delta, decoder.norm)
        end = self._node("Slice", [normed, self._whole(-1), self._whole(2**31 - 1), self._whole(1)])
        self._node("Identity", [self._linear(end, decoder.heads)], outputs=["logits"])

    def serialised(self) -> bytes:
        """The graph as a file would have it, without its weights."""
        config = self._config
        cache = ["rows", config.heads, "positions", config.head_width]
        text = ["texts_", config.heads, "tokens", config.head_width]
        number, whole, small = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32
        inputs = {"hidden": (number, ["rows", "columns", config.width]), "last": (small, ["rows"]), "length": (small, [1])}
        caches = {f"{n}{i}": (number, cache) for i in range(config.layers) for n in ("keys", "values")}
        inputs |= caches
        if not config.follows_melody:
            inputs |= {"texts": (whole, [1]), "pads": (whole, [6]), "bias": (number, ["texts_", 1, "columns", "tokens"])}
            inputs |= {f"text_{n}{i}": (number, text) for i in range(config.layers) for n in ("keys", "values")}
        outputs = {f"new_{name}": kind for name, kind in caches.items()}
        outputs["logits"] = number, ["rows", 1, config.codebooks * config.codebook_size]
        graph = helper.make_graph(self._nodes, "decoder", _values(inputs), _values(outputs), [_placeholder(n, w) for n, w in self.weights.items()])
        versions = [helper.make_opsetid("", 20), helper.make_opsetid(_OWN, 1)]
        return bytes(helper.make_model(graph, opset_imports=versions, ir_version=10).SerializeToString())

    def _layer(self, hidden: str, delta: str | None, layer: DecoderLayer, index: int) -> tuple[str, str]:
        config = self._config
        normed, hidden = self._norm(hidden, delta, layer.self_attention_norm)
        joint = self._linear(normed, layer.self_attention.queries_keys_values)
        queries, keys, values = (f"{n}_of_{index}" for n in "qkv")
        self._node("Split", [joint], outputs=[queries, keys, values], axis=2, num_outputs=3)
        attended = f"attended{index}"
        self._node(
            "GroupQueryAttention",
            [queries, keys, values, f"keys{index}", f"values{index}", "last", "length"],
            outputs=[attended, f"new_keys{index}", f"new_values{index}"],
            domain=_OWN, num_heads=config.heads, kv_num_heads=config.heads,
        )
        delta = self._linear(attended, layer.self_attention.output)
        if layer.looks_at_text:
            normed, hidden = self._norm(hidden, delta, layer.cross_attention_norm)
            some = self._node("Slice", [normed, self._whole(0), "texts", self._whole(0)])
            queries = self._linear(some, layer.cross_attention.queries)
            attended = self._node(
                "MultiHeadAttention",
                [queries, f"text_keys{index}", f"text_values{index}", "", "", "bias"],
                domain=_OWN, num_heads=config.heads,
            )
            delta = self._node("Pad", [self._linear(attended, layer.cross_attention.output), "pads"])
        normed, hidden = self._norm(hidden, delta, layer.feed_forward_norm)
        expanded = self._node("Gelu", [self._linear(normed, layer.expand)], domain=_OWN)
        return hidden, self._linear(expanded, layer.contract)

    def _norm(self, hidden: str, delta: str | None, norm: nn.LayerNorm) -> tuple[str, str]:
        """``hidden`` + ``delta``, normalised and as it is."""
        scale = [self._weight(norm.weight.detach().numpy()), self._weight(norm.bias.detach().numpy())]
        if delta is None:
            return self._node("LayerNormalization", [hidden, *scale], axis=-1, epsilon=norm.eps), hidden
        count = len(self._nodes)
        normed, summed = f"normed{count}", f"summed{count}"
        self._node("SkipLayerNormalization", [hidden, delta, *scale], outputs=[normed, "", "", summed], domain=_OWN, epsilon=norm.eps)
        return normed, summed

    def _linear(self, inputs: str, linear: nn.Linear) -> str:
        codes, scales = quantise(linear.weight.detach())
        return self._node(
            "MatMulNBits", [inputs, self._weight(codes), self._weight(scales)], domain=_OWN,
            K=linear.in_features, N=linear.out_features, bits=8, block_size=_BLOCK, accuracy_level=4,
        )

    def _whole(self, value: int) -> str:
        return self._weight(np.array([value], np.int64))

    def _weight(self, value: np.ndarray) -> str:
        name = f"weight{len(self.weights)}"
        self.weights[name] = np.ascontiguousarray(value)
        return name

    def _node(self, kind: str, inputs: list[str], *, outputs: list[str] | None = None, domain: str = "", **options: Any) -> str:
        outputs = outputs or [f"{kind}{len(self._nodes)}"]
        self._nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, **options))
        return outputs[0]


def quantise(weight: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """[out, in] → uint8 codes [out, blocks, 64] around 128, and a scale for each block."""
    missing = -weight.shape[1] % _BLOCK
    blocks = nn.functional.pad(weight.float(), (0, missing)).unflatten(1, (-1, _BLOCK))
    scales = blocks.abs().amax(dim=2).clamp(min=1e-12) / 127
    codes = (blocks / scales[..., None]).round_().add_(128).to(torch.uint8)
    return codes.numpy(), scales.flatten().numpy()


def _values(kinds: dict[str, tuple[int, list[Any]]]) -> list[Any]:
    return [helper.make_tensor_value_info(name, *kind) for name, kind in kinds.items()]


def _placeholder(name: str, weight: np.ndarray) -> TensorProto:
    """A weight that the session is given beside the graph."""
    if weight.dtype == np.int64:
        return helper.make_tensor(name, TensorProto.INT64, weight.shape, weight)
    tensor = TensorProto(name=name, dims=weight.shape, data_location=TensorProto.EXTERNAL)
    tensor.data_type = helper.np_dtype_to_tensor_dtype(weight.dtype)
    tensor.external_data.add(key="location", value="given")
    return tensor
