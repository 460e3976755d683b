"""Our Examples against those of the protocol buffers library."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st

from imgassets.errors import StoreError
from imgassets.formats.tf_example import ImageExample, image_example, parse


def _example_class() -> Any:
    """`tf.train.Example`, declared here as in tensorflow/core/example/{example,feature}.proto."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto

    def message(name: str, *fields: tuple[str, int, int, str | None, bool], parent: Any = file) -> Any:
        new = (parent.message_type if parent is file else parent.nested_type).add(name=name)
        for title, number, kind, type_name, repeated in fields:
            label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            new.field.add(name=title, number=number, type=kind, type_name=type_name, label=label)
        return new

    message("BytesList", ("value", 1, field.TYPE_BYTES, None, True))
    message("FloatList", ("value", 1, field.TYPE_FLOAT, None, True))
    message("Int64List", ("value", 1, field.TYPE_INT64, None, True))
    lists = [("bytes_list", 1, "BytesList"), ("float_list", 2, "FloatList"), ("int64_list", 3, "Int64List")]
    feature = message("Feature", *((n, i, field.TYPE_MESSAGE, f".t.{t}", False) for n, i, t in lists))
    feature.oneof_decl.add(name="kind")
    for one in feature.field:
        one.oneof_index = 0
    features = message("Features", ("feature", 1, field.TYPE_MESSAGE, ".t.Features.FeatureEntry", True))
    entry = message(
        "FeatureEntry",
        ("key", 1, field.TYPE_STRING, None, False),
        ("value", 2, field.TYPE_MESSAGE, ".t.Feature", False),
        parent=features,
    )
    entry.options.map_entry = True
    message("Example", ("features", 1, field.TYPE_MESSAGE, ".t.Features", False))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))


Example = _example_class()
images = st.builds(
    ImageExample,
    filename=st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    synset=st.text("n0123456789", min_size=9, max_size=9),
    label=st.integers(1, 1000),
    height=st.integers(1, 70_000),
    width=st.integers(1, 70_000),
    encoded=st.one_of(st.binary(max_size=300), st.integers(0, 40_000).map(bytes)),
)


@settings(deadline=None)
@given(image=images)
def test_bytes_are_those_of_deterministic_protocol_buffers(image: ImageExample) -> None:
    wanted = Example()
    feature = wanted.features.feature
    numbers = {"height": image.height, "width": image.width, "channels": 3, "class/label": image.label}
    for key, number in numbers.items():
        feature[f"image/{key}"].int64_list.value.append(number)
    texts = {"colorspace": "RGB", "format": "JPEG", "class/synset": image.synset, "filename": image.filename}
    for key, text in texts.items():
        feature[f"image/{key}"].bytes_list.value.append(text.encode())
    feature["image/encoded"].bytes_list.value.append(image.encoded)
    data = b"".join(image.parts())
    assert data == wanted.SerializeToString(deterministic=True)
    assert image.parts()[1] is image.encoded
    assert image_example(parse(data)) == image
    assert parse(data).keys() == set(feature)


@settings(deadline=None)
@given(
    features=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        st.one_of(
            st.lists(st.binary(max_size=20), min_size=1, max_size=4),
            st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=1, max_size=4),
            st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4),
        ),
        max_size=6,
    )
)
def test_parses_whatever_the_library_writes(features: dict[str, Any]) -> None:
    example = Example()
    for key, values in features.items():
        kind = {bytes: "bytes_list", int: "int64_list", float: "float_list"}[type(values[0])]
        getattr(example.features.feature[key], kind).value.extend(values)
    assert parse(example.SerializeToString()) == features


def test_an_empty_list_is_an_empty_list() -> None:
    example = Example()
    example.features.feature["none"].SetInParent()
    example.features.feature["empty"].bytes_list.SetInParent()
    assert parse(example.SerializeToString()) == {"none": [], "empty": []}


@settings(deadline=None)
@given(data=st.binary(max_size=200))
def test_garbage_is_an_error_of_ours_or_nothing(data: bytes) -> None:
    with suppress(StoreError):
        parse(data)


def test_cut_and_foreign_records_are_refused() -> None:
    data = b"".join(ImageExample("a.JPEG", "n01440764", 1, 10, 20, bytes(300)).parts())
    for cut in range(1, len(data)):
        with pytest.raises(StoreError):
            image_example(parse(data[:cut]))
    with pytest.raises(StoreError, match="expected one bytes under 'image/filename'"):
        image_example({})
    with pytest.raises(StoreError, match="expected one int under 'image/class/label'"):
        image_example(parse(data) | {"image/class/label": [1, 2]})
