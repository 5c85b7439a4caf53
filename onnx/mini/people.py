"""The list of recordings that recordings.py learns from: path, speaker, text.

    python people.py PACKAGES OUT.tsv --judge JUDGE.py --models DIR

PACKAGES as packages.py makes it. LibriSpeech's excerpts have no texts: they are written down by the ASR judge of
measure.py (whose Python environment is wanted, and 10 minutes on 2 cores). Of speechocean762, whose speakers are
learners, each adult's five longest sentences.
"""

import argparse
import multiprocessing
import os
import re
from pathlib import Path

SENTENCES = 5  # of each learner
ADULT = 18


def tidy(text):
    """A sentence in capitals as it is written: only its beginning and the word I keep theirs."""
    text = re.sub(r"\bi\b", "I", text.lower())
    return text[:1].upper() + text[1:] + "."


def table(path):
    return dict(
        line.split(None, 1) for line in path.read_text(encoding="utf8").splitlines() if " " in line or "\t" in line
    )


def learners(folder):
    """(path, speaker, text) of speechocean762's adults."""
    for part in ("train", "test"):
        age, text, path, said = (table(folder / part / n) for n in ("spk2age", "text", "wav.scp", "spk2utt"))
        for speaker in sorted(said):
            if int(age[speaker]) >= ADULT:
                for utterance in sorted(said[speaker].split(), key=lambda u: -len(text[u]))[:SENTENCES]:
                    yield folder / path[utterance].strip(), f"so{speaker}", tidy(text[utterance].strip())


def begin(judge, models):
    from judges import Judges

    global judges
    judges = Judges(judge, models)


def transcribe(path):
    return re.sub(r"\s+", " ", judges.transcribe(path, "en").strip())


def readers(folder, judge, models):
    """(path, speaker, text) of LibriSpeech's excerpts, by two processes."""
    paths = sorted(folder.glob("*.flac"))
    os.environ["OMP_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), begin, (judge, models)) as pool:
        for path, text in zip(paths, pool.imap(transcribe, paths), strict=True):
            if text:
                yield path, f"ls{path.name.split('-')[0]}", text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    args = parser.parse_args()
    packages = args.packages.resolve()
    rows = [*learners(packages / "speechocean762")]
    rows += readers(packages / "librispeech_train-clean-100", args.judge, args.models)
    args.out.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows), encoding="utf8")
    print(f"{len(rows)} recordings of {len({row[1] for row in rows})} people")


if __name__ == "__main__":
    main()
