"""A client gives what the SavedModel answers, whatever carries it."""

import asyncio
import io
from concurrent import futures

import numpy as np
import pytest
from PIL import Image

from export.client import AsyncClient, CallError, Client
from export.errors import ExportError

DOORS = pytest.mark.parametrize("door", ["grpc", "http"])


@DOORS
def test_every_call_gives_what_the_savedmodel_answers(door, urls, answers, images):
    import tensorflow as tf

    data = list(images.values())

    def expected(name, **texts):
        inputs = {"image_bytes": tf.constant(data), **{key: tf.constant(value) for key, value in texts.items()}}
        return {key: value.numpy() for key, value in answers[name](**inputs).items()}

    with Client(urls[door]) as client:
        want = expected("caption")
        for row, got in enumerate(client.caption(data)):
            assert (got.status, got.caption.encode()) == ("ok", want["caption"][row])
            assert got.score == pytest.approx(float(want["score"][row]), abs=1e-5)
        contexts = [f"number {row}" for row in range(len(data))]
        want = expected("caption_with_context", context=contexts)
        assert [got.caption.encode() for got in client.caption(data, contexts)] == want["caption"].tolist()
        assert client.caption(data[0], "a wall").caption.endswith(" beside a wall")
        want = expected("caption_candidates")
        for row, got in enumerate(client.candidates(data)):
            assert [text.encode() for text in got.captions] == want["captions"][row].tolist()
            np.testing.assert_allclose(got.scores, want["scores"][row], atol=1e-5)
        want = expected("caption_explain")
        for row, got in enumerate(client.explain(data)):
            assert [word.encode() for word in got.words] == want["tokens"][row][:3].tolist()
            np.testing.assert_allclose(got.attention, want["attention"][row][:3], atol=1e-5)
        want = expected("embed_image")
        for row, got in enumerate(client.embed_image(data)):
            np.testing.assert_allclose(got.embedding, want["embedding"][row], rtol=1e-5)
            assert got.embedding.dtype == np.float32
        want = expected("answer", question=contexts)
        for row, got in enumerate(client.answer(data, iter(contexts))):
            assert got.answer.encode() == want["answer"][row] and got.answers[0] == got.answer
            assert [text.encode() for text in got.answers] == want["answers"][row].tolist()
            np.testing.assert_allclose((got.score, *got.scores), [want["score"][row], *want["scores"][row]], atol=1e-5)
        want = expected("match", text=contexts)
        for row, got in enumerate(client.match(data, contexts)):
            assert got.probability == pytest.approx(float(want["probability"][row]), abs=1e-6)
        vectors = client.embed_text(contexts)
        assert [vector.embedding[0] for vector in vectors] == [len(text) for text in contexts]
        assert client.embed_text("dog").embedding[0] == 3
        assert (
            client.answer([b"junk"], "what?")[0].answer == ""
            and client.match([b"junk"], "a dog")[0].probability is None
        )


@DOORS
def test_a_bad_image_costs_itself(door, urls, images, tmp_path):
    good = images["landscape.jpg"]
    sent = [good, b"", good[:300], tmp_path / "missing.jpg", b"8BPS" + bytes(20), tmp_path, good]
    with Client(urls[door]) as client:
        found = client.caption(sent)
        assert [row.status.split(":")[0] for row in found] == [
            *("ok", "empty", "damaged", "unreadable", "unsupported", "unreadable", "ok")
        ]
        assert found[0] == found[-1] == client.caption(good)
        assert all(row.caption == "" and row.score is None for row in found[1:-1])
        assert client.candidates([b"junk"])[0].captions == ()
        assert client.explain([b"junk"])[0].words == ()
        assert client.embed_image([b"junk"])[0].embedding is None
        assert client.caption([]) == []
        assert client.caption([tmp_path / "missing.jpg"])[0].status.startswith("unreadable: No such file")


@DOORS
def test_batches_are_split(door, urls, images):
    data = list(images.values())
    with Client(urls[door]) as whole, Client(urls[door], max_batch_size=3) as parts:
        one, other = whole.caption(data), parts.caption(iter(data))
    assert [row.caption for row in one] == [row.caption for row in other]


@DOORS
def test_images_may_be_paths_bytes_or_pil(door, urls, images, tmp_path):
    path = tmp_path / "alpha.png"
    path.write_bytes(images["alpha.png"])
    opened = Image.open(io.BytesIO(images["alpha.png"]))
    with Client(urls[door]) as client:
        rows = client.caption([path, str(path), images["alpha.png"], bytearray(images["alpha.png"]), opened])
        assert len(set(rows)) == 1
        turned = Image.open(io.BytesIO(images["turned.jpg"]))
        assert client.embed_image(turned).status == "ok"
        assert client.caption(Image.new("CMYK", (9, 7))).status == "ok"
        with pytest.raises(TypeError, match="path, bytes or a PIL"):
            client.caption([1])


def test_both_doors_give_the_same(urls, images):
    data = list(images.values())[:4]
    with Client(urls["grpc"]) as one, Client(urls["http"]) as other:
        assert one.caption(data) == other.caption(data)
        assert one.candidates(data) == other.candidates(data)
        assert one.metadata() == other.metadata()
        assert one.status() == other.status()


@DOORS
def test_versions_and_labels(door, urls, images):
    image = images["landscape.jpg"]
    with Client(urls[door]) as newest, Client(urls[door], version=1) as first, Client(urls[door], label="old") as old:
        assert newest.caption(image).score == pytest.approx(first.caption(image).score + 1, abs=1e-5)
        assert first.caption(image) == old.caption(image)
        assert [(each.version, each.state, each.code) for each in newest.status()] == [
            *((2, "AVAILABLE", "OK"), (1, "AVAILABLE", "OK"))
        ]
        assert (first.metadata().version, newest.metadata().version) == (1, 2)
        signature = newest.metadata().signatures["caption_candidates"]
        assert signature.inputs == {"image_bytes": ("string", (None,))}
        assert signature.outputs["scores"] == ("float", (None, 3))
    with pytest.raises(ExportError, match="not both"):
        Client(urls[door], version=1, label="old")


@DOORS
def test_any_signature(door, urls, images):
    with Client(urls[door]) as client:
        inputs = {"image_bytes": [images["grey.jpg"]], "context": ["a wall"]}
        found = client.predict("caption_with_context", inputs)
        assert set(found) == {"caption", "score", "status"} and found["caption"].shape == (1,)
        assert list(client.predict("caption_with_context", inputs, ["status"])) == ["status"]
        assert client.predict("", {"image_bytes": [b""]})["status"][0].startswith(b"empty")


@DOORS
def test_numbers_and_single_outputs(door, tmp_path):
    import tensorflow as tf

    from export.server.local_server import LocalServer

    module = tf.Module()
    module.half = tf.function(lambda x: {"y": x / 2 + 2}, input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
    tf.saved_model.save(module, str(tmp_path / "numbers/7"), signatures=module.half.get_concrete_function())
    with LocalServer(tmp_path / "numbers", model_name="numbers") as server:
        url = {"grpc": f"grpc://127.0.0.1:{server.grpc_port}", "http": f"http://127.0.0.1:{server.rest_port}"}[door]
        with Client(url, "numbers") as client:
            found = client.predict("serving_default", {"x": [[1.0, 2.0], [5.0, 6.5]]})
            np.testing.assert_allclose(found["y"], [[2.5, 3], [4.5, 5.25]])


@DOORS
def test_errors_have_the_servers_code_and_words(door, urls):
    with Client(urls[door], "nobody") as client:
        with pytest.raises(CallError, match="Could not find any versions of model nobody") as raised:
            client.status()
        assert raised.value.code == "NOT_FOUND"
        with pytest.raises(CallError) as raised:
            client.caption(b"x")
        assert raised.value.code == "NOT_FOUND"
    with Client(urls[door]) as client, pytest.raises(CallError, match="no_such") as raised:
        client.predict("no_such", {"image_bytes": [b""]})
    assert raised.value.code in ("FAILED_PRECONDITION", "INVALID_ARGUMENT")


@DOORS
def test_asyncio_gives_the_same(door, urls, images):
    data = list(images.values())[:5]

    async def ask():
        async with AsyncClient(urls[door]) as client:
            await client.wait_until_available(10)
            many = await asyncio.gather(*(client.caption(image) for image in data))
            with pytest.raises(CallError):
                await client.predict("no_such", {"image_bytes": [b""]})
            return many, await client.explain(data[0]), await client.metadata()

    with Client(urls[door]) as client:
        many, explained, metadata = asyncio.run(ask())
        assert many == [client.caption(image) for image in data]
        np.testing.assert_allclose(explained.attention, client.explain(data[0]).attention, atol=1e-6)
        assert metadata == client.metadata()


@DOORS
def test_threads_share_a_client(door, urls, images):
    data = list(images.values())
    with Client(urls[door]) as client, futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(client.caption, data)) == [client.caption(image) for image in data]


@DOORS
def test_tokens(door, tiny_models, tmp_path, images):
    from export.server.local_server import LocalServer

    (tmp_path / "token").write_text("secret\n")
    with LocalServer(tiny_models, model_name="captioner", auth_token_file=str(tmp_path / "token")) as server:
        url = {"grpc": f"grpc://127.0.0.1:{server.grpc_port}", "http": f"http://127.0.0.1:{server.rest_port}"}[door]
        with Client(url, token="secret") as client:
            assert client.caption(images["grey.jpg"]).status == "ok"
        for token in (None, "wrong"):
            with Client(url, token=token) as client, pytest.raises(CallError) as raised:
                client.caption(images["grey.jpg"])
            assert raised.value.code == "UNAUTHENTICATED"
