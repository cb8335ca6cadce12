"""Readers of pictures, and the corpus made of them."""

import io
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_array

from tests.conftest import needs_shared
from uncollapse.data import picture_arrays, picture_files
from uncollapse.data.labels import UNLABELLED_DATA
from uncollapse.data.picture_files import Intensities, pictures_in, read_pictures
from uncollapse.data.pictures import arrays_of, binarise, load_pictures, texts_of
from uncollapse.data.settings import DataConfig
from uncollapse.data.strokes import strokes
from uncollapse.data.vocabulary import INK
from uncollapse.errors import UserError


def figures(count, side=8, seed=0):
    return np.random.default_rng(seed).integers(2, size=(count, side, side)).astype(np.float32)


def png(picture, scale=1):
    content = io.BytesIO()
    Image.fromarray(np.kron(255 - 255 * picture, np.ones((scale, scale))).astype(np.uint8)).save(content, "PNG")
    return content.getvalue()


def read(path, side=8, held_out=0.2, seed=0):
    return read_pictures(path, side, held_out, seed=seed)


def save(path, array):
    if path.suffix == ".pt":
        torch.save(torch.from_numpy(array), path)
    elif path.suffix == ".npz":
        np.savez(path, pictures=array)
    else:
        np.save(path, array)


def test_pictures_need_held_out_ones(tmp_path):
    save(tmp_path / "a.npy", figures(50))
    with pytest.raises(UserError, match="data.held_out 0 is for text; pictures need a test part"):
        read(tmp_path / "a.npy", held_out=0.0)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt"])
@pytest.mark.parametrize("shape", ["square", "flat", "channel", "bytes"])
def test_arrays_of_every_shape_are_read_and_split(tmp_path, suffix, shape):
    array = figures(50)
    given = {
        "square": array,
        "flat": array.reshape(50, 64),
        "channel": array[:, None],
        "bytes": (255 * array).astype(np.uint8),
    }[shape]
    save(tmp_path / f"a{suffix}", given)
    parts, messages = read(tmp_path / f"a{suffix}")
    assert [len(parts[part].ink) for part in ("train", "valid", "test")] == [32, 8, 10] and len(messages) == 2
    together = np.concatenate([part.ink for part in parts.values()])
    assert sorted(map(bytes, together.astype(np.uint8))) == sorted(map(bytes, array.astype(np.uint8)))


def test_named_parts_are_taken_as_they_are(tmp_path):
    np.savez(tmp_path / "a.npz", train=figures(20), test=figures(5, seed=1))
    parts, messages = read(tmp_path / "a.npz")
    assert len(parts["test"].ink) == 5 and len(parts["valid"].ink) == 4 and "no valid part" in messages[0]


def test_the_published_omniglot_is_known_by_its_sizes(tmp_path, monkeypatch):
    for module in (picture_arrays, picture_files):
        monkeypatch.setattr(module, "CHARDATA", {"data": 30, "testdata": 6})
    monkeypatch.setattr(picture_files, "CHARDATA_VALID", 4)

    def columns(pictures):  # as MATLAB stores them: a column a picture, down the picture first
        return np.stack([picture.flatten(order="F") for picture in pictures], 1)

    given = {"testdata": columns(figures(6, seed=1)), "target": np.zeros((50, 30)), "testtarget": np.zeros((50, 6))}
    savemat(tmp_path / "chardata.mat", {"data": columns(figures(30)), **given})
    parts, messages = read(tmp_path)
    assert [len(parts[p].ink) for p in ("train", "valid", "test")] == [26, 4, 6] and "published" in messages[0]
    where = [[list(map(bytes, figures(30))).index(bytes(one)) for one in parts[p].ink] for p in ("train", "valid")]
    assert (
        sorted(where[0] + where[1]) == list(range(30))
        and where[1] != [26, 27, 28, 29]
        and where == list(map(sorted, where))
    )
    assert (parts["test"].ink == figures(6, seed=1)).all()
    others, messages = read(tmp_path, seed=1)
    assert not np.array_equal(parts["valid"].ink, others["valid"].ink) and "(seed 1)" in messages[0]
    savemat(tmp_path / "chardata.mat", {"data": columns(figures(31)), **given})
    with pytest.raises(UserError, match="expected Omniglot's arrays .*'data': 30.* got .*'data': 31"):
        read(tmp_path)


def test_zips_and_folders_of_png_are_split_by_drawer_and_doubles_taken_once(tmp_path):
    drawn = figures(60, seed=2)
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        for i, picture in enumerate(drawn):
            archive.writestr(
                f"set/{'Greek' if i % 2 else 'Latin'}/character{i // 10}/000{i // 10}_{i % 10:02d}.png", png(picture, 3)
            )
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("set/Latin/character0/0000_00.png", png(drawn[0], 3))
    parts, messages = read(tmp_path)
    assert sum(len(part.ink) for part in parts.values()) == 60 and "1 of 61 pictures occur twice" in messages[0]
    assert "split by drawer: 8 for training, 1 for validation, 1 for the test; a reduced split" in messages[1]
    assert set(parts["test"].drawers) == {"09"} and set(parts["valid"].drawers) == {"08"}
    assert set(parts["train"].labels["group"]) == {"Greek", "Latin"}
    # black on white is turned into ink, and the resized picture is the picture
    assert any((parts["train"].ink[k] == drawn[0]).all() for k in range(len(parts["train"].ink)))
    (tmp_path / "plain").mkdir()
    for i in range(10):
        (tmp_path / "plain" / f"p{i}.png").write_bytes(png(drawn[i]))
    assert len(read(tmp_path / "plain")[0]["train"].ink) == 6


def test_numbered_pictures_are_not_taken_for_drawers_and_folders_are_groups(tmp_path):
    drawn = figures(40)
    for i in range(40):
        folder = tmp_path / ("cat" if i % 2 else "dog")
        folder.mkdir(exist_ok=True)
        (folder / f"img_{i:02d}.png").write_bytes(png(drawn[i]))
    parts, messages = read(tmp_path)
    assert "no test part" in messages[0] and set(parts["train"].labels["group"]) == {"cat", "dog"}


def test_transparent_and_single_pictures_are_read(tmp_path):
    picture = np.eye(8)
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[..., 3] = 255 * picture.astype(np.uint8)  # black where there is ink, transparent elsewhere
    Image.fromarray(rgba).save(tmp_path / "one.png")
    assert (pictures_in(tmp_path / "one.png", 8).ink[0] == picture).all()


def test_three_tensors_are_three_parts_and_a_folder_may_hold_one_file(tmp_path):
    torch.save(tuple(torch.from_numpy(figures(n)) for n in (20, 4, 5)), tmp_path / "a.pt")
    parts, messages = read(tmp_path)
    assert [len(parts[p].ink) for p in ("train", "valid", "test")] == [20, 4, 5] and not messages


def test_static_pixels_are_drawn_once_and_dynamic_ones_anew():
    grey = Intensities(np.full((200, 8, 8), 0.3, np.float32))
    splits = load_pictures(DataConfig(name="strokes", side=8, dynamic=True, held_out=0.1, sentences=30))
    assert splits.train.ink is not None and splits.valid.ink is None and splits.test.ink is None
    static, again = (binarise(grey, UNLABELLED_DATA, [1], dynamic=False) for _ in range(2))
    assert (static.flat == again.flat).all() and abs((static.flat == INK).mean() - 0.3) < 0.02
    assert torch.equal(static.batch([3, 5]).tokens, static.batch([3, 5]).tokens)
    dynamic = binarise(grey, UNLABELLED_DATA, [1], dynamic=True)
    assert torch.equal(dynamic.batch([3]).tokens, static.batch([3]).tokens)  # evaluation sees them fixed
    every = np.arange(200)
    one, other = dynamic.training_batch(every).tokens, dynamic.training_batch(every).tokens
    assert not torch.equal(one, other) and abs((one == INK).float().mean() - 0.3) < 0.03
    assert torch.equal(one[:, [0, -1]], other[:, [0, -1]])
    assert dynamic.subset(np.array([4, 2])).ink.shape == (2, 64)
    black = binarise(Intensities(np.ones((2, 8, 8))), UNLABELLED_DATA, [1], dynamic=True)
    assert (black.training_batch(np.array([0, 1])).tokens[:, 1:-1] == INK).all()


def test_pictures_as_text_and_back():
    drawn = figures(3)
    assert (arrays_of(texts_of(drawn)) == drawn).all()
    assert texts_of(np.eye(2)[None]) == ["#·\n·#"]


def test_strokes_are_the_same_for_a_seed_whatever_their_number():
    ink, labels = strokes(12, 14, [3])
    fewer, _ = strokes(5, 14, [3])
    assert (ink[:5] == fewer).all() and not (ink == strokes(12, 14, [4])[0]).all()
    assert ink.min() >= 0 and ink.max() == 1 and (ink.max((1, 2)) > 0.5).all()
    more = [ink[i].sum() for i, n in enumerate(labels["strokes"]) if n == "3"]
    less = [ink[i].sum() for i, n in enumerate(labels["strokes"]) if n == "1"]
    assert set(labels["first"]) <= {"line", "arc", "hook"} and np.mean(more) > np.mean(less)


def spoil_zip(path):
    path.write_bytes(b"PK\x03\x04 this is no zip")


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("a.zip", spoil_zip, "cannot be read as a zip"),
        ("a.npy", lambda p: np.save(p, figures(9, 7)), r"expected pictures of shape \[N, 8, 8\] \(data.side\), got \[9, 7, 7\]"),
        ("a.npy", lambda p: np.save(p, 3 * figures(9)), "expected intensities from 0 to 1, or bytes, got 0 to 3"),
        ("a.npy", lambda p: np.save(p, figures(9) - 0.5), "got -0.5 to 0.5"),
        ("a.npz", lambda p: p.write_bytes(b"no array"), "cannot be read as .npz"),
        ("a.pt", lambda p: p.write_bytes(b""), "cannot be read as .pt"),
        ("a.npz", lambda p: np.savez(p, one=figures(9), two=figures(9)), "expected one array, or train, valid and test, got one, two"),
        ("a.npy", lambda p: np.save(p, figures(1)), "1 pictures are too few"),
        ("a.npy", lambda p: np.save(p, figures(2)), "2 pictures are too few"),
        ("a.npy", lambda p: np.save(p, np.float32(1)), "expected pictures of shape .*got no array of numbers"),
        ("a.npz", lambda p: np.savez(p, train=figures(9), valid=np.float32(1)), "valid: .*got no array of numbers"),
        ("a.npy", lambda p: np.save(p, figures(9).astype(complex)), "got no array of numbers"),
        ("a.npy", lambda p: np.save(p, figures(9).astype(str)), "got no array of numbers"),
        ("a.npy", lambda p: np.save(p, np.array([None]), allow_pickle=True), "cannot be read as .npy"),
        ("a.mat", lambda p: savemat(p, {"train": {"a": 1}}), "got no array of numbers"),
        ("a.mat", lambda p: savemat(p, {"train": csc_array(figures(1)[0])}), "got no array of numbers"),
        ("a.mat", lambda p: savemat(p, {"train": "words"}), "got no array of numbers"),
        ("a.mat", lambda p: savemat(p, {}), "expected arrays of pictures, got none"),
        ("a.pt", lambda p: torch.save({"a": 1}, p), "expected arrays of pictures, got none"),
        ("a.pt", lambda p: torch.save(torch.tensor(1.0), p), "got no array of numbers"),
        ("a.pt", lambda p: torch.save(torch.zeros(1, 1, 1).expand(10**9, 8, 8), p), "at most 4,194,304 pictures of data.side 8"),
        ("a.npy", lambda p: p.mkdir(), "cannot be read as .npy"),
        ("a.png", lambda p: p.mkdir(), "found none"),
        ("a.zip", lambda p: p.mkdir(), "found none"),
        ("a.npz", lambda p: np.savez(p, train=figures(9)[:0]), "expected pictures, got none"),
        ("a.txt", lambda p: p.write_text("words"), "expected pictures .*got a.txt"),
        ("folder", lambda p: p.mkdir(), r"expected pictures \(\*.png\), found none"),
        ("none.npz", lambda p: None, "no such file or folder"),
    ],
)  # fmt: skip
def test_what_holds_no_pictures_is_one_clear_line(tmp_path, name, spoil, message):
    spoil(tmp_path / name)
    with pytest.raises(UserError, match=message):
        read(tmp_path / name)


def zeros(path, name, size, start=b""):
    """Write a zip with an entry of very many zeros."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(name, "w", force_zip64=True) as entry,
    ):
        entry.write(start)
        for _ in range(size >> 20):
            entry.write(bytes(2**20))


def test_pictures_are_weighed_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_arrays, "MOST_PIXELS", 2**20)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**18, 8, 8)})
    zeros(tmp_path / "a.npz", "train.npy", 2**24, header.getvalue())
    zeros(tmp_path / "a.pt", "a/data.pkl", 2**24)
    savemat(tmp_path / "a.mat", {"train": np.zeros((2**16, 8, 8), np.uint8)}, do_compression=True)
    for name in ("a.npy", "b.mat"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(2**40)  # of which nothing is written
    monkeypatch.setattr(picture_arrays, "_loaded", lambda path: pytest.fail(f"{path} was read"))
    for name in ("a.npz", "a.pt", "a.mat", "a.npy", "b.mat"):
        for reader in (read, lambda path: pictures_in(path, 8)):
            with pytest.raises(
                UserError, match="expected at most 8,388,608 bytes of arrays, which are held in memory, got"
            ):
                reader(tmp_path / name)


def test_a_picture_that_expands_is_read_no_further_than_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_files, "PNG_BYTES", 2**20)
    zeros(tmp_path / "a.zip", "a.png", 2**26)
    honest = (tmp_path / "a.zip").read_bytes()
    size = (2**26).to_bytes(4, "little")
    (tmp_path / "liar.zip").write_bytes(honest.replace(size, (1000).to_bytes(4, "little")))
    (tmp_path / "a.png").write_bytes(bytes(2**21))
    tracemalloc.start()
    for name, said in (
        ("a.zip", "a.png: expected a picture of at most 1,048,576 bytes"),
        ("a.png", "at most"),
        ("liar.zip", "cannot be read"),
    ):
        with pytest.raises(UserError, match=said):
            read(tmp_path / name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23
    Image.new("1", (10_000, 10_000)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="a.png: cannot be read as a picture .DecompressionBombWarning"):
        read(tmp_path / "a.png")


def test_too_many_or_too_large_pictures_are_refused(tmp_path, monkeypatch):
    for sentences, side, said in ((10**26, 28, "data.sentences: expected at most 342,392 pictures of data.side 28"), (0, 10**5, "data.side: expected at most 512 pixels, got 100000")):  # fmt: skip
        with pytest.raises(UserError, match=said):
            load_pictures(DataConfig(name="strokes", side=side, sentences=sentences))
    for i in range(9):
        (tmp_path / f"{i}.png").write_bytes(png(figures(1, seed=i)[0]))
    with pytest.raises(UserError, match="data.side: expected at most 512 pixels, got 100000"):
        read(tmp_path, side=10**5)
    monkeypatch.setattr(picture_arrays, "MOST_PIXELS", 5 * 64)
    with pytest.raises(UserError, match="expected at most 5 pictures of data.side 8"):
        read(tmp_path)


def test_pipes_and_folders_among_pictures_are_passed_over(tmp_path):
    for name in ("a.npy", "b.png", "c.zip", "chardata.mat"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "d.png").mkdir()
    (tmp_path / "d.png" / "e.png").write_bytes(png(figures(1)[0]))
    assert len(pictures_in(tmp_path, 8).ink) == 1
    with pytest.raises(UserError, match="1 pictures are too few"):
        read(tmp_path)


def test_a_broken_picture_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a/b/c.png", b"no picture")
    with pytest.raises(UserError, match="c.png: cannot be read as a picture"):
        read(tmp_path / "a.zip")


def test_the_reduced_omniglot():
    path = needs_shared("omniglot")
    splits = load_pictures(DataConfig(path=str(path), dynamic=True))
    assert [len(splits[p]) for p in ("train", "valid", "test")] == [3872, 484, 484]
    assert "1,000 of 5,840 pictures occur twice" in splits.messages[0] and "reduced" in splits.messages[1]
    assert 0.02 < splits.train.ink.mean() < 0.2
