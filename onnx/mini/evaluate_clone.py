"""Zero-shot cloning: prompts of the teacher's voices through the tokenizer and the speaker encoder, test sentences
after them.

    python evaluate_clone.py --checkpoint DIR --pack DIR --out DIR [--sentences 6]

Each prompt is a sentence spoken by a voice that is not built in. Writes prompt and result wavs, pairs.tsv for the ASR
judge and similar.tsv (prompt wav, result wav) for a speaker judge.
"""

import argparse
from pathlib import Path

import torch

import features
import tokens
from evaluate import HERE, write_wav
from generate import Studio
from inference import Synthesiser

PROMPTS = ("bm_george", "af_bella", "am_fenrir")
PROMPT_TEXT = "The weather was fine yesterday, and we walked along the river."
PROMPT_PHONES = "ðə wˈɛðəɹ wʌz fˈIn jˈɛstəɹdˌA, ænd wi wˈɔkt əlˈɔŋ ðə ɹˈɪvəɹ."


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sentences", type=int, default=6)
    args = parser.parse_args()
    import onnxruntime
    from transformers import AutoTokenizer

    args.out.mkdir(parents=True, exist_ok=True)
    studio = Studio(args.pack, "cpu", 0, 0.4)
    ids = tokens.encode(PROMPT_PHONES)
    studio.phones, studio.start = torch.tensor(ids, dtype=torch.uint8), torch.tensor([0, len(ids)])
    studio.size = torch.tensor([len(ids) + 2])
    tokenizer = AutoTokenizer.from_pretrained(args.checkpoint / "CosyVoice-BlankEN")
    model = Synthesiser(args.checkpoint)
    recognise, embed = (
        onnxruntime.InferenceSession(str(args.checkpoint / n)) for n in ("speech_tokenizer_v2.onnx", "campplus.onnx")
    )
    lines = [x.strip() for x in open(HERE / "eval" / "test_en.txt", encoding="utf8")][: args.sentences]
    pairs, similar = [], []
    for number, voice in enumerate(PROMPTS):
        with torch.no_grad():
            o = studio.speak([(0, studio.names.index(voice), 1.0, 0)])
            wave = studio.teacher.vocode(o["ids"], o["lengths"], o["owner"], o["style"], o["f0"], o["energy"]) * 1.5
        wave = wave[:, int(o["cut"][0]) * 960 :][:, : int(o["counts"][0]) * 960].clamp(-0.95, 0.95)
        low = features.resample(wave, 3, 2)
        whisper = features.whisper_mel(low, studio.banks["whisper"])
        codes = recognise.run(
            None,
            {"feats": whisper.numpy(), "feats_length": torch.tensor([whisper.shape[2]], dtype=torch.int32).numpy()},
        )[0][0]
        fbank = features.fbank(low, studio.banks["kaldi"])
        embedding = torch.from_numpy(embed.run(None, {"input": (fbank - fbank.mean(1, keepdim=True)).numpy()})[0])
        mel = features.mel(wave, studio.banks["mel"])
        width = min(len(codes), mel.shape[2] // 2)
        codes, mel = codes[:width].tolist(), mel[:, :, : 2 * width]
        true = o["codes"][0, :width]
        right = (torch.tensor(codes) % tokens.PHONES == true % tokens.PHONES).float().mean()
        print(voice, f"{width / 25:.1f} s prompt, phones recognised {right:.3f}")
        write_wav(args.out / f"prompt_{voice}.wav", wave[0])
        for i, text in enumerate(lines):
            generator = torch.Generator().manual_seed(100 * number + i)
            said = model.lm(tokenizer(text)["input_ids"], tokenizer(PROMPT_TEXT)["input_ids"], codes, generator)
            audio = model.audio(model.mel(said, embedding, codes, mel))
            path = args.out / f"clone_{voice}_{i:02d}.wav"
            write_wav(path, audio)
            pairs.append(f"{path}\ten\t{text}")
            similar.append(f"{args.out}/prompt_{voice}.wav\t{path}")
    (args.out / "pairs.tsv").write_text("\n".join(pairs) + "\n", encoding="utf8")
    (args.out / "similar.tsv").write_text("\n".join(similar) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
