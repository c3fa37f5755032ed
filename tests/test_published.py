"""Fetching the authors' files from a server here: whole or absent, resumed, and imported after a question."""

import http.server
import re
import threading
from pathlib import Path

import pytest
from command_line import error_line
from tiny import released_tokenizer, released_transformer

from minimaskgit import imagenet
from minimaskgit.common.errors import UserError
from minimaskgit.runs import published
from minimaskgit.runs.flax import write_arrays
from minimaskgit.runs.published import FILES, Published, fetch
from minimaskgit.runs.released import released_tree
from minimaskgit.runs.run import open_run

CONTENT = bytes(range(256)) * 9000  # more than two parts
FILE = Published("some_checkpoint", len(CONTENT))


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the files of `server.content`, or the rest of one from the byte asked for if `server.resumes`."""

    def do_GET(self):
        content, start = self.server.content.get(self.path), 0
        self.server.asked.append(self.headers.get("Range"))
        if content is None:
            return self.send_error(404)
        if (asked := self.headers.get("Range")) and self.server.resumes:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + self.server.limit])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.asked, server.resumes, server.limit = {"/some_checkpoint": CONTENT}, [], True, 10**9
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_whole_into_a_new_folder(server, tmp_path):
    fetch(FILE, tmp_path / "new", f"{server.address}/")
    assert (tmp_path / "new" / FILE.name).read_bytes() == CONTENT and names(tmp_path / "new") == [FILE.name]
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / FILE.name).write_bytes(CONTENT)
    fetch(FILE, tmp_path / "local", (tmp_path / "served").as_uri())
    assert (tmp_path / "local" / FILE.name).read_bytes() == CONTENT


@pytest.mark.parametrize("resumes", [True, False])
def test_what_was_stopped_goes_on_where_it_was_or_starts_over_if_the_server_cannot(server, tmp_path, resumes):
    server.limit, server.resumes = 1_500_000, resumes
    with pytest.raises(UserError, match=r"gave 1,500,000 of 2,304,000 bytes; type the command again"):
        fetch(FILE, tmp_path, server.address)
    assert names(tmp_path) == [f"{FILE.name}.partial"]
    server.limit = 10**9
    fetch(FILE, tmp_path, server.address)
    assert (tmp_path / FILE.name).read_bytes() == CONTENT and names(tmp_path) == [FILE.name]
    assert server.asked == [None, "bytes=1500000-"]


def test_a_part_that_is_larger_than_the_file_is_no_part_of_it(server, tmp_path):
    (tmp_path / f"{FILE.name}.partial").write_bytes(bytes(len(CONTENT) + 1))
    fetch(FILE, tmp_path, server.address)
    assert (tmp_path / FILE.name).read_bytes() == CONTENT and server.asked == [None]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "has 2,304,000 bytes; expected 2,304,001: it is another file"),
        ("/nowhere", "cannot be fetched (Not Found)"),
    ],
)
def test_another_file_or_none_is_refused_and_nothing_is_written(server, tmp_path, path, said):
    with pytest.raises(UserError, match=re.escape(said)):
        fetch(FILE._replace(size=FILE.size + 1), tmp_path / "new", server.address + path)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "nonsense", "", "file:///nowhere/at/all"])
def test_without_a_network_one_line_says_what_to_do(tmp_path, capsys, address):
    given = ["--download", "--yes", "--address", address, "--files", str(tmp_path / "files"), "--out"]
    line = error_line(capsys, imagenet, *given, str(tmp_path / "run"))
    assert "cannot be fetched" in line and "check the network" in line and not list(tmp_path.iterdir())


# --- The command ---


def test_it_only_says_where_the_files_are_and_what_to_type(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(imagenet, "fetch", None)
    imagenet.main(["--out", str(tmp_path / "run")])
    page = capsys.readouterr().out
    for size, file in zip(("218,068,642", "689,843,608"), FILES.values()):
        assert f"{size} bytes  https://storage.googleapis.com/maskgit-public/checkpoints/{file.name}" in page
    assert f"imagenet --download --out {tmp_path / 'run'}\n" in page, "the folder that was asked for"
    assert "908 MB" in page and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("answer", "said"), [("n", "nothing was fetched"), ("", "nothing was fetched"), (None, "add --yes")]
)
def test_it_asks_before_it_fetches(monkeypatch, capsys, tmp_path, answer, said):
    def reply(question):
        assert question.startswith("Fetch 908 MB from https://storage.googleapis.com/")
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", reply)
    monkeypatch.setattr(imagenet, "fetch", None)
    given = ["--download", "--files", str(tmp_path / "files"), "--out", str(tmp_path / "run")]
    assert said in error_line(capsys, imagenet, *given)
    (tmp_path / "run").mkdir()
    assert "already exists" in error_line(capsys, imagenet, *given)


@pytest.mark.slow
def test_fetched_files_become_a_run(server, monkeypatch, tmp_path):
    for kind, model in (("tokenizer", released_tokenizer()), ("transformer", released_transformer())):
        write_arrays(tmp_path / "x", released_tree(model))
        server.content[f"/{kind}"] = (tmp_path / "x").read_bytes()
        monkeypatch.setitem(published.FILES, kind, Published(kind, (tmp_path / "x").stat().st_size))
    monkeypatch.setattr("builtins.input", lambda question: "y")
    given = ["--download", "--address", server.address, "--files", str(tmp_path / "files")]
    imagenet.main([*given, "--out", str(tmp_path / "run")])
    assert open_run(tmp_path / "run", "cpu").transformer().num_classes == 5
    monkeypatch.setattr(imagenet, "ask", None)  # nothing is left to fetch
    imagenet.main([*given, "--out", str(tmp_path / "again")])
    assert (tmp_path / "again/config.json").exists() and server.asked == [None, None]
