"""TensorFlow checkpoints read without TensorFlow: the format, the names, and the model that comes out."""

from __future__ import annotations

import math
import re
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForPreTraining

from biobert_scale.errors import UserError
from biobert_scale.modeling.bundle import Bundle, masked_crc32c
from biobert_scale.modeling.tensorflow import tensorflow_weights
from biobert_scale.modeling.weights import read_source

TYPES = {"float32": 1, "float64": 2, "int64": 9, "float16": 19}


def checksum(data: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(np.frombuffer(bytearray(data), np.uint8)))


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def field(number: int, value: int | bytes) -> bytes:
    return (
        varint(number << 3) + varint(value)
        if isinstance(value, int)
        else varint(number << 3 | 2) + varint(len(value)) + value
    )


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    """A table's block with a whole key every third entry."""
    content, restarts, previous = b"", [], b""
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % 3 == 0:
            restarts.append(len(content))
        else:
            while shared < min(len(key), len(previous)) and key[shared] == previous[shared]:
                shared += 1
        content += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        previous = key
    content += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
    return content + b"\0" + checksum(content + b"\0")


def write_checkpoint(
    prefix: Path, arrays: dict[str, np.ndarray], *, shards: int = 1, per_block: int = 7
) -> None:
    """The format as its specification has it, many blocks and data files for few variables."""
    data = [b""] * shards
    rows = [(b"", field(1, shards) + field(3, field(1, 1)))]
    for number, (name, array) in enumerate(sorted(arrays.items())):
        shard, raw = number % shards, array.tobytes()
        shape = b"".join(field(2, field(1, size)) for size in array.shape)
        entry = (
            field(1, TYPES[array.dtype.name])
            + field(2, shape)
            + (field(3, shard) if shard else b"")
            + field(4, len(data[shard]))
        )
        rows.append((name.encode(), entry + field(5, len(raw)) + b"\x35" + checksum(raw)))
        data[shard] += raw
    table, index = b"", []
    for start in range(0, len(rows), per_block):
        part = rows[start : start + per_block]
        made = block(part)
        index.append((part[-1][0], varint(len(table)) + varint(len(made) - 5)))
        table += made
    handles = b""
    for made in (block([]), block(index)):
        handles += varint(len(table)) + varint(len(made) - 5)
        table += made
    prefix.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{prefix}.index").write_bytes(
        table + handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    )
    for shard, content in enumerate(data):
        Path(f"{prefix}.data-{shard:05d}-of-{shards:05d}").write_bytes(content)


def variables_of(model: BertForPreTraining) -> dict[str, np.ndarray]:
    """A model's weights as Google's code would have saved them, optimizer included."""
    arrays: dict[str, np.ndarray] = {"global_step": np.array(1000, np.int64)}
    for name, parameter in model.named_parameters():
        array = parameter.detach().numpy()
        variable = re.sub(r"layer\.(\d+)", r"layer_\1", name).replace(".", "/")
        if "LayerNorm" in name:
            variable = variable.replace("weight", "gamma").replace("bias", "beta")
        elif variable in ("cls/predictions/bias", "cls/seq_relationship/bias", "cls/seq_relationship/weight"):
            variable = variable.replace("bias", "output_bias").replace("weight", "output_weights")
        elif variable.endswith("embeddings/weight"):
            variable = variable.removesuffix("/weight")
        elif variable.endswith("weight"):
            variable, array = variable.replace("weight", "kernel"), array.T.copy()
        arrays[variable] = array
        arrays |= {f"{variable}/{slot}": np.full_like(array, 7.0) for slot in ("adam_m", "adam_v")}
    return arrays


@pytest.fixture(scope="module")
def model() -> BertForPreTraining:
    torch.manual_seed(1)
    model = BertForPreTraining(
        BertConfig(
            vocab_size=30,
            hidden_size=8,
            num_hidden_layers=11,
            num_attention_heads=2,
            intermediate_size=20,
            max_position_embeddings=16,
        )
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def test_the_checksum_is_the_published_one() -> None:
    # RFC 3720, appendix B.4: the CRC of 32 bytes 0 to 31 is 46 dd 79 4e; and the customary check of
    # "123456789".
    for data, crc in ((bytes(range(32)), 0x46DD794E), (b"123456789", 0xE3069283)):
        assert checksum(data) == struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@pytest.mark.parametrize(("shards", "per_block"), [(1, 1000), (3, 7)])
def test_every_weight_comes_back_exactly_and_nothing_of_the_optimizer(
    model: BertForPreTraining, tmp_path: Path, shards: int, per_block: int
) -> None:
    write_checkpoint(tmp_path / "model.ckpt-1000", variables_of(model), shards=shards, per_block=per_block)
    found = tensorflow_weights(tmp_path / "model.ckpt-1000")
    expected = dict(model.named_parameters())
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, expected[name]), name


def test_other_float_types_become_fp32(tmp_path: Path) -> None:
    values = np.linspace(-3, 3, 7)
    write_checkpoint(
        tmp_path / "c", {"half": values.astype(np.float16), "double": values, "counter": np.array([1 << 40])}
    )
    bundle = Bundle(tmp_path / "c")
    assert (
        np.array_equal(bundle.read("half"), values.astype(np.float16).astype(np.float32))
        and bundle.read("half").dtype == np.float32
    )
    assert (
        np.array_equal(bundle.read("double"), values.astype(np.float32))
        and bundle.read("double").dtype == np.float32
    )
    assert bundle.read("counter") == [1 << 40]


@pytest.mark.fault("any byte of a TensorFlow checkpoint changed", "found by its checksums")
def test_no_damaged_byte_goes_unseen(model: BertForPreTraining, tmp_path: Path) -> None:
    arrays = {
        name: array for name, array in variables_of(model).items() if not name.endswith(("adam_m", "adam_v"))
    }
    prefix = tmp_path / "c"
    write_checkpoint(prefix, arrays)
    index, data = Path(f"{prefix}.index"), Path(f"{prefix}.data-00000-of-00001")
    for path, positions in (
        (index, range(0, index.stat().st_size - 48, 211)),
        (data, range(0, data.stat().st_size - 8, 9001)),
    ):
        whole = path.read_bytes()
        for position in positions:
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
            with pytest.raises(UserError, match=r"CRC-32C"):
                tensorflow_weights(prefix)
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UserError, match=r"damaged|cut short"):
            tensorflow_weights(prefix)
        path.write_bytes(whole)
    tensorflow_weights(prefix)
    data.unlink()
    with pytest.raises(UserError, match=r"data file of the checkpoint is missing: .*data-00000-of-00001"):
        tensorflow_weights(prefix)


@pytest.mark.fault("the end of a TensorFlow checkpoint's index damaged", "one line")
def test_a_damaged_end_of_the_index_is_told_in_one_line(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "c", {"bert/embeddings/word_embeddings": np.ones((3, 2), np.float32)})
    index = tmp_path / "c.index"
    whole = index.read_bytes()
    for position in range(len(whole) - 48, len(whole)):
        for bit in (1, 64, 128):
            index.write_bytes(whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :])
            try:
                assert tensorflow_weights(tmp_path / "c")["bert.embeddings.word_embeddings.weight"].sum() == 6
            except UserError as error:
                assert "\n" not in str(error)


def test_what_is_no_bert_checkpoint_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "c", {"model/layer-0/.ATTRIBUTES/VARIABLE_VALUE": np.ones(2, np.float32)})
    with pytest.raises(UserError, match="without bert/embeddings/word_embeddings"):
        tensorflow_weights(tmp_path / "c")
    with pytest.raises(UserError, match=r"no TensorFlow checkpoint: .*other\.index"):
        tensorflow_weights(tmp_path / "other")
    (tmp_path / "text.index").write_text("nothing of the kind, though it is long enough to hold a footer")
    with pytest.raises(UserError, match="it does not end as one"):
        tensorflow_weights(tmp_path / "text")


def rows(vocabulary: int, length: int, *, sequences: int = 2) -> dict[str, np.ndarray]:
    """Sequences of random entries, the first with padding."""
    generator = np.random.default_rng(0)
    mask = np.ones((sequences, length), np.int32)
    mask[0, length - 5 :] = 0
    kinds = np.repeat([[0] * (length // 2) + [1] * (length - length // 2)], sequences, axis=0).astype(
        np.int32
    )
    return {
        "input_ids": generator.integers(0, vocabulary, (sequences, length), np.int32),
        "segment_ids": kinds,
        "input_mask": mask,
    }


def converted(prefix: Path) -> BertForPreTraining:
    source = read_source(prefix)
    model = BertForPreTraining(source.config).eval()
    missing, unexpected = model.load_state_dict(source.tensors, strict=False)
    assert (
        set(missing) <= {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"} and not unexpected
    )
    return model


@torch.no_grad()
def scores(model: BertForPreTraining, batch: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    ids, kinds, mask = (
        torch.from_numpy(batch[name]).long() for name in ("input_ids", "segment_ids", "input_mask")
    )
    output = model(input_ids=ids, token_type_ids=kinds, attention_mask=mask)
    return output.prediction_logits.numpy(), output.seq_relationship_logits.numpy()


def numpy_scores(
    values: dict[str, np.ndarray], batch: dict[str, np.ndarray], heads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Devlin et al. 2019 written out over the checkpoint's own names and layouts, in fp64."""
    values = {name: array.astype(np.float64) for name, array in values.items()}
    erf = np.vectorize(math.erf)

    def dense(x: np.ndarray, scope: str) -> np.ndarray:
        return x @ values[f"{scope}/kernel"] + values[f"{scope}/bias"]

    def norm(x: np.ndarray, scope: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        return (
            centred
            / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
            * values[f"{scope}/LayerNorm/gamma"]
            + values[f"{scope}/LayerNorm/beta"]
        )

    def gelu(x: np.ndarray) -> np.ndarray:
        return x * 0.5 * (1 + erf(x / np.sqrt(2)))

    ids, length = batch["input_ids"], batch["input_ids"].shape[1]
    table = values["bert/embeddings/word_embeddings"]
    hidden = (
        table[ids]
        + values["bert/embeddings/token_type_embeddings"][batch["segment_ids"]]
        + values["bert/embeddings/position_embeddings"][:length]
    )
    hidden = norm(hidden, "bert/embeddings")
    layers = sum(name.endswith("attention/self/query/bias") for name in values)
    for layer in range(layers):
        scope = f"bert/encoder/layer_{layer}"
        q, k, v = (
            dense(hidden, f"{scope}/attention/self/{part}").reshape(2, length, heads, -1).swapaxes(1, 2)
            for part in ("query", "key", "value")
        )
        weights = q @ k.swapaxes(2, 3) / np.sqrt(q.shape[-1]) - 1e9 * (1 - batch["input_mask"][:, None, None])
        weights = np.exp(weights - weights.max(-1, keepdims=True))
        context = (weights / weights.sum(-1, keepdims=True) @ v).swapaxes(1, 2).reshape(hidden.shape)
        hidden = norm(dense(context, f"{scope}/attention/output/dense") + hidden, f"{scope}/attention/output")
        hidden = norm(
            dense(gelu(dense(hidden, f"{scope}/intermediate/dense")), f"{scope}/output/dense") + hidden,
            f"{scope}/output",
        )
    transformed = norm(gelu(dense(hidden, "cls/predictions/transform/dense")), "cls/predictions/transform")
    pooled = np.tanh(dense(hidden[:, 0], "bert/pooler/dense"))
    relation = (
        pooled @ values["cls/seq_relationship/output_weights"].T + values["cls/seq_relationship/output_bias"]
    )
    return transformed @ table.T + values["cls/predictions/output_bias"], relation


def graph_scores(
    tensorflow: Any, prefix: Path, batch: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """What Google's own training graph computes, saved beside the checkpoint, with input pipeline and dropout
    cut out of it."""
    v1, (sequences, length) = tensorflow.compat.v1, batch["input_ids"].shape
    outputs = ["cls/predictions/BiasAdd", "cls/seq_relationship/BiasAdd"]
    graph = v1.MetaGraphDef.FromString(prefix.with_name(f"{prefix.name}.meta").read_bytes()).graph_def
    features = sorted(
        [
            "input_ids",
            "input_mask",
            "segment_ids",
            "masked_lm_positions",
            "masked_lm_ids",
            "masked_lm_weights",
            "next_sentence_labels",
        ]
    )
    undropped = {
        node.name.replace("/div", "/mul"): node.input[0]
        for node in graph.node
        if re.search(r"dropout(_\d+)?/div$", node.name)
    }
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name.startswith("IteratorGetNext"):
                node.input[position] = features[int(name.partition(":")[2] or 0)]
            node.input[position] = undropped.get(node.input[position], node.input[position])
    for name in features:
        node = graph.node.add(name=name, op="Placeholder")
        node.attr["dtype"].type = tensorflow.int32.as_datatype_enum
    reader = tensorflow.train.load_checkpoint(str(prefix))
    feeds = {f"{name}:0": array for name, array in batch.items()}
    feeds["masked_lm_positions:0"] = np.tile(np.arange(length, dtype=np.int32), (sequences, 1))
    with tensorflow.Graph().as_default() as used, v1.Session() as session:
        v1.import_graph_def(v1.graph_util.extract_sub_graph(graph, outputs), name="")
        operations = {operation.name for operation in used.get_operations()}
        feeds |= {
            f"{name}/read:0": reader.get_tensor(name)
            for name in reader.get_variable_to_shape_map()
            if f"{name}/read" in operations
        }
        predictions, relation = session.run([f"{name}:0" for name in outputs], feeds)
    return predictions.reshape(sequences, length, -1), relation


def assert_close(found: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        # The real model's weights are small, and so is what its scores differ by.
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3 * np.ptp(theirs))


def test_a_converted_model_computes_what_the_original_equations_say(
    model: BertForPreTraining, tmp_path: Path
) -> None:
    arrays = variables_of(model)
    write_checkpoint(tmp_path / "bert_model.ckpt", arrays)
    (tmp_path / "bert_config.json").write_text(model.config.to_json_string())
    assert_close(scores(converted(tmp_path), rows(30, 14)), numpy_scores(arrays, rows(30, 14), heads=2))


def test_the_real_checkpoint_computes_what_the_original_equations_say(real_data: Path) -> None:
    directory = real_data / "bert" / "tf_tiny_checkpoint"
    bundle = Bundle(directory / "bert_model.ckpt")
    assert len(bundle.variables) == 139
    values = {name: bundle.read(name) for name in bundle.variables}
    assert_close(scores(converted(directory), rows(15, 16)), numpy_scores(values, rows(15, 16), heads=4))


def test_the_real_checkpoint_computes_what_its_own_graph_computes(real_data: Path) -> None:
    tensorflow = pytest.importorskip("tensorflow", reason="the original graph runs in TensorFlow only")
    directory = real_data / "bert" / "tf_tiny_checkpoint"
    batch = rows(15, 16, sequences=32)  # the sizes that the graph was built for
    assert_close(
        scores(converted(directory), batch), graph_scores(tensorflow, directory / "bert_model.ckpt", batch)
    )


def test_variables_are_those_that_tensorflow_reads(
    real_data: Path, model: BertForPreTraining, tmp_path: Path
) -> None:
    tensorflow = pytest.importorskip("tensorflow", reason="compared with TensorFlow's own reader")
    real = tmp_path / "real"
    shutil.copytree(real_data / "bert" / "tf_tiny_checkpoint", real)
    write_checkpoint(tmp_path / "ours", variables_of(model), shards=3)
    many = {
        f"scope_{number % 13}/variable_{number}": np.full((number % 5, 3), number, np.float32)
        for number in range(3000)
    }
    many["narrow"] = tensorflow.cast(tensorflow.linspace(-1.0, 1.0, 9), tensorflow.bfloat16)
    tensorflow.raw_ops.SaveV2(
        prefix=str(tmp_path / "theirs"),
        tensor_names=list(many),
        shape_and_slices=[""] * len(many),
        tensors=list(many.values()),
    )
    for prefix in (real / "bert_model.ckpt", tmp_path / "ours", tmp_path / "theirs"):
        bundle, reader = Bundle(prefix), tensorflow.train.load_checkpoint(str(prefix))
        assert bundle.variables.keys() == reader.get_variable_to_shape_map().keys()
        for name in bundle.variables:
            theirs = np.asarray(reader.get_tensor(name))
            assert np.array_equal(
                bundle.read(name), theirs.astype(np.float32) if bundle.variables[name].floating else theirs
            ), name
