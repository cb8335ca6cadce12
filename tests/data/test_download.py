"""`data get`, against a server on this machine that answers as it should, and one that does not."""

import hashlib
import io
import json
import subprocess
import tarfile
import threading
import tracemalloc
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from uncollapse.cli import main
from uncollapse.data import download
from uncollapse.data.catalogue import entries
from uncollapse.errors import UserError

TEXT = b"".join(b"sentence number %d\n" % i for i in range(200_000))


def zipped(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def damaged(compression):
    """Return an archive whose second file cannot be decompressed."""
    noise = bytes(i * i % 251 for i in range(9999))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        archive.writestr("train.txt", b"a")
        archive.writestr("test.txt", noise)
    whole = bytearray(content.getvalue())
    begin = whole.index(b"test.txt") + len("test.txt")
    whole[begin : begin + 60] = b"\xff" * 60
    return bytes(whole)


def tarred(files, links=()):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return content.getvalue()


class Server(BaseHTTPRequestHandler):
    """Answers by the first part of the path: ok, cut, moved, page, more, forgetful, gone."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self):
        manner, name = self.path.strip("/").split("/")
        content, wanted = self.files[name], self.headers.get("Range", "")
        self.asked.append((manner, wanted))
        begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and manner != "forgetful" else 0
        if manner == "gone":
            self.send_error(404)
        elif manner == "moved":
            self.send_response(302)
            self.send_header("Location", f"/ok/{name}")
            self.end_headers()
        elif manner == "elsewhere":
            self.send_response(302)
            self.send_header("Location", f"file:///{name}")
            self.end_headers()
        else:
            self.send_response(206 if begin else 200)
            self.send_header("Content-Type", "text/html" if manner == "page" else "application/octet-stream")
            if manner != "endless":
                self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            part = content[begin:]
            self.wfile.write(part[: len(part) // 2] if manner in ("cut", "forgetful") and len(self.asked) < 3 else part)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    Server.files, Server.asked = {"text.txt": TEXT}, []
    running = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    running.handle_error = lambda *_: None  # a client that has read enough closes the connection
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


@pytest.fixture
def fetch(server, tmp_path):
    """Return a function that gets a file from the server in some manner, with what the catalogue says of it."""

    def run(manner="ok", name="text.txt", given=None, **known):
        entry = dict.fromkeys(("title", "licence", "cite", "train"), "x")
        source = {"name": name, "address": f"{server}/{manner}/{name}", **known}
        (tmp_path / "catalogue.yaml").write_text(
            yaml.safe_dump({"corpus": {**entry, "files": [source]}}, sort_keys=False)
        )
        folder = tmp_path / "out"
        return download.get(
            "corpus", folder, given=given, advance=lambda *_: None, path=tmp_path / "catalogue.yaml"
        ), folder

    return run


SUMS = {"size": len(TEXT), "sha256": hashlib.sha256(TEXT).hexdigest()}


@pytest.mark.parametrize("manner", ["ok", "moved", "endless"])
def test_a_file_arrives_whole_and_is_not_asked_for_again(fetch, manner):
    files, folder = fetch(manner, **SUMS)
    assert [path.read_bytes() for path in files] == [TEXT] and "Licence: x." in (folder / "ABOUT.md").read_text()
    assert sorted(p.name for p in folder.iterdir()) == ["ABOUT.md", "text.txt"]
    asked = len(Server.asked)
    fetch(manner, **SUMS)
    assert len(Server.asked) == asked


@pytest.mark.parametrize("known", [SUMS, {}])
def test_a_cut_connection_is_gone_on_with_where_it_was_cut(fetch, known):
    files, _ = fetch("cut", **known)
    assert files[0].read_bytes() == TEXT
    assert Server.asked == [("cut", ""), ("cut", f"bytes={len(TEXT) // 2}-"), ("cut", f"bytes={len(TEXT) * 3 // 4}-")]


def test_a_server_that_cannot_go_on_sends_it_from_the_beginning(fetch):
    files, _ = fetch("forgetful", **SUMS)
    assert files[0].read_bytes() == TEXT and len(Server.asked) == 3


def test_what_an_interrupted_command_left_is_gone_on_with(fetch, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".text.txt.part").write_bytes(TEXT[:1000])
    files, _ = fetch("ok", **SUMS)
    assert files[0].read_bytes() == TEXT and Server.asked == [("ok", "bytes=1000-")]


def test_the_name_that_git_gives_a_file_is_checked_as_git_computes_it(fetch, tmp_path):
    (tmp_path / "text.txt").write_bytes(TEXT)
    name = subprocess.run(["git", "hash-object", tmp_path / "text.txt"], capture_output=True, text=True, check=True)
    fetch("ok", git_blob=name.stdout.strip())
    with pytest.raises(UserError, match=r"expected git_blob 0{12}…, got"):
        fetch("ok", name="other.txt" if Server.files.setdefault("other.txt", TEXT) else "", git_blob="0" * 40)


@pytest.mark.parametrize(
    ("manner", "known", "words"),
    [
        ("ok", {"sha256": "0" * 64}, "expected sha256 000000000000…, got .*; it is another file"),
        ("ok", {"size": len(TEXT) + 1}, f"expected a file of {len(TEXT) + 1:,} bytes, got {len(TEXT):,}"),
        ("ok", {"size": 1000}, f"expected a file of 1,000 bytes, got {len(TEXT):,} bytes"),
        ("endless", {"size": 1000}, "expected a file of 1,000 bytes, got more"),
        ("page", {}, "got a page of HTML"),
        ("gone", {}, "cannot be downloaded .404 Not Found."),
        ("elsewhere", {}, "cannot be downloaded"),
    ],
)
def test_something_else_than_the_file_is_refused_and_nothing_stays(fetch, tmp_path, manner, known, words):
    with pytest.raises(UserError, match=words) as refused:
        fetch(manner, **known)
    assert str(refused.value).endswith("with the files at hand (text.txt): --from FILE or FOLDER")
    assert "\n" not in str(refused.value) and not (tmp_path / "out" / "text.txt").exists()
    assert not (tmp_path / "out").exists()


def test_no_server_is_one_line(fetch, tmp_path, monkeypatch):
    entry = dict.fromkeys(("title", "licence", "cite", "train"), "x")
    source = {"name": "a.txt", "address": "http://127.0.0.1:9/a.txt"}
    (tmp_path / "none.yaml").write_text(yaml.safe_dump({"corpus": {**entry, "files": [source]}}, sort_keys=False))
    with pytest.raises(UserError, match=r"cannot be downloaded \(Connection refused\); with the files at hand"):
        download.get("corpus", tmp_path / "out", advance=lambda *_: None, path=tmp_path / "none.yaml")
    assert not (tmp_path / "out").exists()


MEMBERS = {"train.txt": "x.train.txt", "test.txt": "x.test.txt"}


@pytest.mark.parametrize("name", ["corpus.zip", "corpus.tar.gz"])
def test_the_wanted_files_of_an_archive_are_kept_under_our_names(fetch, name):
    files = {"deep/folder/train.txt": b"a\n", "test.txt": b"b\n", "other.txt": b"c\n"}
    Server.files[name] = zipped(files) if name.endswith("zip") else tarred(files)
    got, folder = fetch("ok", name, members=MEMBERS)
    assert [path.name for path in got] == ["x.train.txt", "x.test.txt"]
    assert [path.read_bytes() for path in got] == [b"a\n", b"b\n"]
    assert sorted(p.name for p in folder.iterdir()) == ["ABOUT.md", "x.test.txt", "x.train.txt"]


@pytest.mark.parametrize("name", ["corpus.zip", "corpus.tar.gz"])
def test_a_hostile_archive_writes_nothing_outside(fetch, tmp_path, name):
    files = {"../../train.txt": b"a\n", "/etc/evil.txt": b"e\n", "..\\..\\test.txt": b"b\n"}
    links = [("train.txt", "/etc/passwd")]
    Server.files[name] = zipped(files) if name.endswith("zip") else tarred(files, links)
    got, folder = fetch("ok", name, members=MEMBERS)
    assert [path.read_bytes() for path in got] == [b"a\n", b"b\n"]
    outside = [p for p in tmp_path.rglob("*") if p.is_file() and folder not in p.parents]
    assert outside == [tmp_path / "catalogue.yaml"]


def test_a_bomb_is_refused(fetch, monkeypatch):
    monkeypatch.setattr(download, "MOST_BYTES", 5_000_000)
    Server.files["bomb.zip"] = zipped({"train.txt": b"0" * 60_000_000, "test.txt": b"b\n"})
    tracemalloc.start()
    with pytest.raises(UserError, match=r"train.txt is larger than 5,000,000 bytes"):
        fetch("ok", "bomb.zip", members=MEMBERS)
    assert tracemalloc.get_traced_memory()[1] < 30_000_000  # it is not unpacked first
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (zipped({"train.txt": b"a"}), "the archive lacks test.txt"),
        (b"no archive at all", "expected an archive, got something else"),
        (zipped({"train.txt": b"a" * 9999, "test.txt": b"b"})[:80], "expected an archive, got something else"),
        (damaged(zipfile.ZIP_DEFLATED), "expected an archive, got something else"),
        (damaged(zipfile.ZIP_LZMA), "expected an archive, got something else"),
    ],
    ids=[
        "a file is missing",
        "text",
        "cut",
        "deflate",
        "lzma",
    ],  # a zip holds the time: the workers must collect the same names
)
def test_an_archive_that_is_not_what_it_should_be_is_one_line_and_nothing_stays(fetch, tmp_path, content, words):
    Server.files["corpus.zip"] = content
    with pytest.raises(UserError, match=words) as refused:
        fetch("ok", "corpus.zip", members=MEMBERS)
    assert str(refused.value).startswith("http://") and str(refused.value).endswith("--from FILE or FOLDER")
    assert not (tmp_path / "out").exists()


def test_the_folder_of_an_archive_that_is_unpacked_serves_as_the_archive(fetch, tmp_path):
    (tmp_path / "mine").mkdir()
    for name, content in (("train.txt", b"a\n"), ("other.txt", b"o"), ("test.txt", b"b\n")):
        (tmp_path / "mine" / name).write_bytes(content)
    files, _ = fetch(name="corpus.zip", given=tmp_path / "mine", members=MEMBERS)
    assert [path.read_bytes() for path in files] == [b"a\n", b"b\n"] and not Server.asked
    (tmp_path / "mine" / "test.txt").unlink()
    for path in files:
        path.unlink()
    with pytest.raises(UserError, match=r"expected corpus.zip or what it holds, got no such file"):
        fetch(name="corpus.zip", given=tmp_path / "mine", members=MEMBERS)


def test_a_file_in_its_place_is_checked_and_not_replaced(fetch):
    files, _ = fetch(**SUMS)
    files[0].write_bytes(b"junk")
    with pytest.raises(UserError, match=r"out/text.txt: expected a file of .* delete it, and the same command gets it"):
        fetch(**SUMS)
    assert files[0].read_bytes() == b"junk"
    fetch()  # nothing is known of it


def test_one_file_of_several_and_another_corpus_of_an_embedded_name_are_refused(tmp_path, capsys):
    (tmp_path / "ptb.train.txt").write_text("a")
    out = ["--out", f"{tmp_path / 'out'}", "--from"]
    assert main(["data", "get", "ptb", *out, f"{tmp_path / 'ptb.train.txt'}"]) == 2
    assert "expected the folder of ptb.train.txt, ptb.valid.txt, ptb.test.txt, got one file" in capsys.readouterr().err
    for part in ("train", "test"):
        (tmp_path / f"synthetic_{part}.txt").write_text("1 2\n")
    assert main(["data", "get", "synthetic", *out, f"{tmp_path}"]) == 2
    assert "txt: expected sha256 " in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_file_of_an_archive_whose_checksum_is_known_is_compared_with_it(fetch):
    Server.files["corpus.zip"] = zipped({"train.txt": b"a", "test.txt": b"b"})
    sums = {
        ours: hashlib.sha256(content).hexdigest() for ours, content in zip(MEMBERS.values(), (b"a", b"b"), strict=True)
    }
    files, _ = fetch("ok", "corpus.zip", members=MEMBERS, member_sha256=sums)
    assert [path.read_bytes() for path in files] == [b"a", b"b"]
    Server.files["corpus.zip"] = zipped({"train.txt": b"a", "test.txt": b"c"})
    for path in files:
        path.unlink()
    with pytest.raises(
        UserError, match=r"test.txt: expected sha256 3e23e8160039…, got 2e7d2c03a950…; it is another file"
    ):
        fetch("ok", "corpus.zip", members=MEMBERS, member_sha256=sums)
    assert not files[1].exists()


def test_a_column_gives_its_distinct_values_in_order(fetch):
    Server.files["pairs.zip"] = zipped({"fra.txt": b"Go.\tVa !\tx\nHi.\tSalut !\tx\nGo.\tMarche.\tx\n"})
    files, _ = fetch("ok", "pairs.zip", members={"fra.txt": "english.txt"}, column=1)
    assert files[0].read_text() == "Go.\nHi.\n"


def test_fields_of_json_give_their_distinct_values_in_order(fetch):
    """A premise stands in several rows, with a hypothesis each."""
    rows = [
        {"a": "One man.", "b": "A man."},
        {"a": "One man.", "b": "No\nman."},
        {"b": "A man."},
        {"a": "", "b": "\u00c9t\u00e9."},
    ]
    Server.files["pairs.zip"] = zipped({"rows.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode()})
    files, _ = fetch("ok", "pairs.zip", members={"rows.jsonl": "sentences.txt"}, fields=["a", "b"])
    assert files[0].read_text(encoding="utf-8") == "One man.\nA man.\nNo man.\n\u00c9t\u00e9.\n"


def test_files_at_hand_are_checked_and_prepared_and_stay(fetch, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "text.txt").write_bytes(TEXT)
    for given in (own, own / "text.txt"):
        files, _ = fetch("gone", given=given, **SUMS)
        assert files[0].read_bytes() == TEXT and (own / "text.txt").exists() and not Server.asked
        files[0].unlink()
    (own / "text.txt").write_bytes(TEXT[:-1] + b"!")
    with pytest.raises(UserError, match="it is another file"):
        fetch("ok", given=own, **SUMS)
    with pytest.raises(UserError, match=r"nothing: expected text.txt, got no such file"):
        fetch("ok", given=tmp_path / "nothing", **SUMS)


def test_the_catalogue_says_what_a_user_must_know(capsys):
    assert main(["data", "get"]) == 0
    shown = capsys.readouterr().out
    for name, entry in entries().items():
        assert f"{name} " in shown and entry.licence and entry.cite and entry.title
        for source in entry.files:
            assert source.address.startswith("https://")
            assert len(source.sha256) in (0, 64) and len(source.git_blob) in (0, 40)
    assert {"ptb", "yahoo", "yelp", "short_yelp", "snli", "synthetic", "omniglot", "tatoeba"} <= set(entries())


def test_the_command_prepares_files_at_hand_and_names_what_comes_next(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("UNCOLLAPSE_DATA", str(tmp_path / "all"))
    (tmp_path / "fra-eng.zip").write_bytes(zipped({"fra.txt": b"Go.\tVa !\tx\n"}))
    assert main(["data", "get", "tatoeba", "--from", str(tmp_path / "fra-eng.zip")]) == 0
    said = capsys.readouterr().err
    assert (tmp_path / "all" / "tatoeba" / "english.txt").read_text() == "Go.\n"
    assert f"next: uncollapse train --data.path {tmp_path / 'all' / 'tatoeba'}" in said and "cite: " in said
    assert main(["data", "get", "grammar"]) == 2
    assert "uncollapse data grammar --out DIR" in capsys.readouterr().err
    assert main(["data", "get", "pbt"]) == 2
    assert "did you mean ptb?" in capsys.readouterr().err


@pytest.mark.skipif(not Path("../shared/data").exists(), reason="the real corpora are not here")
def test_the_catalogue_knows_the_real_files(tmp_path):
    for source in (source for entry in entries().values() for source in entry.files):
        for name, known in source.member_sha256.items():
            real = next(Path("../shared/data").glob(f"*/{name}"))
            assert hashlib.sha256(real.read_bytes()).hexdigest() == known
    for name, folder in (("ptb", "ptb"), ("omniglot-small", "omniglot"), ("synthetic", "synthetic")):
        given = Path("../shared/data") / folder
        files = download.get(name, tmp_path / name, given=given, advance=lambda *_: None)
        assert all(path.stat().st_size == (given / path.name).stat().st_size for path in files)
