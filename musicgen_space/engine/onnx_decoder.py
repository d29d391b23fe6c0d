"""The decoder in 8 bit through ONNX Runtime: wrapped around a loaded one from outside.

Its layers become one graph of ONNX Runtime's operators. What happens once a generation (text
and tune) or is a mere look-up (embeddings, positions) stays in torch. Weights are kept in
blocks of 64 numbers with a scale each, and multiplied as whole numbers; keys and values are
float32, and written in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper
from torch import nn

from musicgen_space.engine.model import (
    Condition,
    CrossAttention,
    Decoder,
    DecoderLayer,
    DecoderState,
    SelfAttention,
)

__all__ = ["OnnxDecoder", "OnnxState", "pack"]

_GRAPH = "graph"  # its name beside its weights'
_BLOCK = 64
_NEVER = -1e9  # added to a score, leaves nothing of it
_OWN = "com.microsoft"  # where ONNX Runtime's operators live beside the standard's
_NUMPY = {torch.float32: np.float32, torch.int64: np.int64, torch.int32: np.int32}
_Kinds = dict[str, tuple[int, list[Any]]]  # the type and shape of each named tensor


@dataclass(slots=True, eq=False)
class OnnxState:
    """The memory of one generation; ``binding`` ties its tensors to the graph's names."""

    torch_state: DecoderState
    binding: Any
    bound: dict[str, torch.Tensor]  # what is bound must live on

    @property
    def rows(self) -> int:
        """R, all rows."""
        return self.torch_state.rows

    def bind(self, name: str, tensor: torch.Tensor, *, output: bool = False) -> None:
        """Read the graph's ``name`` from ``tensor``, or write it there."""
        bind = self.binding.bind_output if output else self.binding.bind_input
        bind(name, "cpu", 0, _NUMPY[tensor.dtype], tuple(tensor.shape), tensor.data_ptr())
        self.bound[name] = tensor


class OnnxDecoder:
    """Codes in, logits of the next codes out, as ``Decoder`` does."""

    def __init__(
        self, decoder: Decoder, packed: Mapping[str, np.ndarray], *, threads: int = 0
    ) -> None:
        """``packed``: what ``pack`` made of the decoder, and ``decoder``: what it left there.

        ``threads``: how many compute; 0 leaves it to ONNX Runtime (one for each core).
        """
        self.config = decoder.config
        self._decoder = decoder.float()
        weights = dict(packed)
        graph = weights.pop(_GRAPH).tobytes()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(w) for w in weights.values()]
        options.add_external_initializers(list(weights), values)
        self._session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])

    def prefill(
        self, codes: torch.Tensor, condition: Condition, *, columns: int
    ) -> tuple[torch.Tensor, OnnxState]:
        """Start a generation of up to ``columns`` columns with ``codes`` [B, K, S]."""
        state, prefix = self._decoder.start(condition, columns)
        mine = OnnxState(state, self._session.io_binding(), {})
        texts = state.text_caches[0].shape[1] if state.text_caches else 0
        if texts:
            mine.bind("texts", torch.tensor([texts]))
            mine.bind("pads", torch.tensor([0, 0, 0, state.rows - texts, 0, 0]))
        for index, cache in enumerate(state.caches):
            for name, tensor in zip(("keys", "values"), cache.unbind(), strict=True):
                mine.bind(f"{name}{index}", tensor)
                mine.bind(f"new_{name}{index}", tensor, output=True)
        for index, cache in enumerate(state.text_caches):
            for name, tensor in zip(("text_keys", "text_values"), cache.unbind(), strict=True):
                mine.bind(f"{name}{index}", tensor)
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
        state.bind("hidden", hidden.contiguous())
        state.bind("last", torch.full((rows,), inner.length - 1, dtype=torch.int32))
        state.bind("length", torch.tensor([inner.length], dtype=torch.int32))
        if inner.text_caches:
            texts, tokens = inner.text_caches[0].shape[1], inner.text_caches[0].shape[3]
            bias = torch.zeros(texts, 1, columns, tokens)
            if inner.text_mask is not None:
                bias.masked_fill_(~inner.text_mask, _NEVER)
            state.bind("bias", bias)
        logits = torch.empty(rows, 1, config.codebooks * config.codebook_size)
        state.bind("logits", logits, output=True)
        self._session.run_with_iobinding(state.binding)
        return logits.view(rows, config.codebooks, config.codebook_size)


def pack(decoder: Decoder) -> dict[str, np.ndarray]:
    """The graph of a decoder, on the CPU and not halved, and the graph's weights by name.

    Weights are dropped there as they are converted here, so that a model is never in memory
    twice.
    """
    graph = _Graph(decoder)
    return {**graph.weights, _GRAPH: np.frombuffer(graph.serialised(), dtype=np.uint8)}


class _Graph:
    """ONNX Runtime's graph of a decoder's layers, and the ``weights`` that it names."""

    def __init__(self, decoder: Decoder) -> None:
        self.weights: dict[str, np.ndarray] = {}
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
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
        number, count = TensorProto.FLOAT, TensorProto.INT32
        caches = self._per_layer("", ["rows", config.heads, "positions", config.head_width])
        inputs: _Kinds = {
            "hidden": (number, ["rows", "columns", config.width]),
            "last": (count, ["rows"]),
            "length": (count, [1]),
            **caches,
        }
        if not config.follows_melody:
            inputs |= {
                "texts": (TensorProto.INT64, [1]),
                "pads": (TensorProto.INT64, [6]),
                "bias": (number, ["N", 1, "columns", "tokens"]),
                **self._per_layer("text_", ["N", config.heads, "tokens", config.head_width]),
            }
        outputs: _Kinds = {f"new_{name}": kind for name, kind in caches.items()}
        outputs["logits"] = number, ["rows", 1, config.codebooks * config.codebook_size]
        given = [_placeholder(name, weight) for name, weight in self.weights.items()]
        graph = helper.make_graph(
            self._nodes, "decoder", _values(inputs), _values(outputs), [*given, *self._constants]
        )
        versions = [helper.make_opsetid("", 20), helper.make_opsetid(_OWN, 1)]
        model = helper.make_model(graph, opset_imports=versions, ir_version=10)
        return bytes(model.SerializeToString())

    def _per_layer(self, prefix: str, shape: list[Any]) -> _Kinds:
        """Each layer's keys and values."""
        return {
            f"{prefix}{name}{index}": (TensorProto.FLOAT, shape)
            for index in range(self._config.layers)
            for name in ("keys", "values")
        }

    def _layer(
        self, hidden: str, delta: str | None, layer: DecoderLayer, index: int
    ) -> tuple[str, str]:
        """→ what comes out of the layer: two terms, still to be added up."""
        normed, hidden = self._norm(hidden, delta, layer.self_attention_norm)
        delta = self._look_back(normed, layer.self_attention, index)
        if layer.looks_at_text:
            normed, hidden = self._norm(hidden, delta, layer.cross_attention_norm)
            delta = self._look_at_text(normed, layer.cross_attention, index)
        normed, hidden = self._norm(hidden, delta, layer.feed_forward_norm)
        expanded = self._node("Gelu", [self._linear(normed, layer.expand)], domain=_OWN)
        return hidden, self._linear(expanded, layer.contract)

    def _look_back(self, normed: str, attention: SelfAttention, index: int) -> str:
        joint = self._linear(normed, attention.queries_keys_values)
        parts = [f"{part}_of_{index}" for part in ("queries", "keys", "values")]
        self._node("Split", [joint], outputs=parts, axis=2, num_outputs=3)
        attended = self._node(
            "GroupQueryAttention",
            [*parts, f"keys{index}", f"values{index}", "last", "length"],
            outputs=[f"attended{index}", f"new_keys{index}", f"new_values{index}"],
            domain=_OWN,
            num_heads=self._config.heads,
            kv_num_heads=self._config.heads,
        )
        return self._linear(attended, attention.output)

    def _look_at_text(self, normed: str, attention: CrossAttention, index: int) -> str:
        """The rows with a text; zeros for the others."""
        start, axis = self._whole(0), self._whole(0)
        queries = self._node("Slice", [normed, start, "texts", axis])
        attended = self._node(
            "MultiHeadAttention",
            [
                self._linear(queries, attention.queries),
                *(f"text_{name}{index}" for name in ("keys", "values")),
                *("", "", "bias"),
            ],
            domain=_OWN,
            num_heads=self._config.heads,
        )
        return self._node("Pad", [self._linear(attended, attention.output), "pads"])

    def _norm(self, hidden: str, delta: str | None, norm: nn.LayerNorm) -> tuple[str, str]:
        """``hidden`` + ``delta``, normalised and as it is."""
        scale = [
            self._weight(norm.weight.detach().float().numpy()),
            self._weight(norm.bias.detach().float().numpy()),
        ]
        if delta is None:
            return self._node(
                "LayerNormalization", [hidden, *scale], axis=-1, epsilon=norm.eps
            ), hidden
        count = len(self._nodes)
        normed, summed = f"normed{count}", f"summed{count}"
        self._node(
            "SkipLayerNormalization",
            [hidden, delta, *scale],
            outputs=[normed, "", "", summed],
            domain=_OWN,
            epsilon=norm.eps,
        )
        return normed, summed

    def _linear(self, inputs: str, linear: nn.Linear) -> str:
        codes, scales = _quantise(linear.weight.detach())
        linear.weight = nn.Parameter(linear.weight.new_empty(0), requires_grad=False)
        return self._node(
            "MatMulNBits",
            [inputs, self._weight(codes), self._weight(scales)],
            domain=_OWN,
            K=linear.in_features,
            N=linear.out_features,
            bits=8,
            block_size=_BLOCK,
            accuracy_level=4,
        )

    def _whole(self, value: int) -> str:
        name = f"whole{len(self._constants)}"
        self._constants.append(helper.make_tensor(name, TensorProto.INT64, [1], [value]))
        return name

    def _weight(self, value: np.ndarray) -> str:
        name = f"weight{len(self.weights)}"
        self.weights[name] = np.ascontiguousarray(value)
        return name

    def _node(
        self,
        kind: str,
        inputs: list[str],
        *,
        outputs: list[str] | None = None,
        domain: str = "",
        **options: Any,
    ) -> str:
        outputs = outputs or [f"{kind}{len(self._nodes)}"]
        self._nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, **options))
        return outputs[0]


def _quantise(weight: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """[out, in] → uint8 codes [out, blocks, 64] around 128, and a scale for each block."""
    missing = -weight.shape[1] % _BLOCK
    blocks = nn.functional.pad(weight.float(), (0, missing)).view(len(weight), -1, _BLOCK)
    scales = blocks.abs().amax(dim=2).clamp(min=1e-12) / 127
    codes = (blocks / scales[..., None]).round_().add_(128).to(torch.uint8)
    return codes.numpy(), scales.flatten().numpy()


def _values(kinds: _Kinds) -> list[Any]:
    return [helper.make_tensor_value_info(name, *kind) for name, kind in kinds.items()]


def _placeholder(name: str, weight: np.ndarray) -> TensorProto:
    """A weight that the session is given beside the graph."""
    tensor = TensorProto(name=name, dims=weight.shape, data_location=TensorProto.EXTERNAL)
    tensor.data_type = helper.np_dtype_to_tensor_dtype(weight.dtype)
    tensor.external_data.add(key="location", value="given")
    return tensor
