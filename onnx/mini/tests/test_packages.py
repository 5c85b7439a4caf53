import subprocess

import packages
import people


def git(folder, *arguments):
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *identity, "-C", folder, *arguments], check=True, capture_output=True)


def repository(folder, files):
    folder.mkdir()
    git(folder, "init", "-q")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf8")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "all")


def test_a_part_of_a_repository_arrives_under_its_new_name(tmp_path):
    repository(tmp_path / "there", {"data/sub/a.txt": "a", "data/b.txt": "b", "other/c.txt": "c"})
    for number, address in enumerate((str(tmp_path / "there"), f"file://{tmp_path}/there")):
        work = tmp_path / f"work{number}"
        work.mkdir()
        packages.repository(address, ["data/sub"], tmp_path / f"one{number}", work)
        assert [p.name for p in (tmp_path / f"one{number}").iterdir()] == ["a.txt"]


def test_several_parts_arrive_side_by_side(tmp_path):
    repository(tmp_path / "there", {"x/a.txt": "a", "y/b.txt": "b", "z/c.txt": "c"})
    (tmp_path / "work").mkdir()
    packages.repository(str(tmp_path / "there"), ["x", "y"], tmp_path / "deep" / "both", tmp_path / "work")
    assert sorted(p.name for p in (tmp_path / "deep" / "both").rglob("*.txt")) == ["a.txt", "b.txt"]


def test_a_sentence_in_capitals_is_written_as_sentences_are():
    assert people.tidy("WHAT SHOULD I SAY IN INDIA") == "What should I say in india."


def test_learners_are_adults_with_their_longest_sentences(tmp_path):
    texts = {f"u{i}": "WORD " * i for i in range(1, 8)} | {"k1": "CHILD"}
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        said = {"0001": [u for u in texts if u[0] == "u"], "0002": ["k1"]} if part == "train" else {}
        files = {
            "spk2age": {"0001": "18", "0002": "9"},
            "text": texts,
            "wav.scp": {u: f"WAVE/{u}.WAV" for u in texts},
            "spk2utt": {s: " ".join(u) for s, u in said.items()},
        }
        for name, rows in files.items():
            text = "".join(f"{key}\t{value}\n" for key, value in rows.items())
            (tmp_path / part / name).write_text(text, encoding="utf8")
    rows = list(people.learners(tmp_path))
    assert [path.name for path, _, _ in rows] == [f"u{i}.WAV" for i in (7, 6, 5, 4, 3)]
    assert {speaker for _, speaker, _ in rows} == {"so0001"}
    assert rows[-1][2] == "Word word word."
