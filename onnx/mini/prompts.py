"""Prompts for the cloning part of measure.py: voices that no training ever heard.

    python prompts.py --teacher P/kokoro.pt --voices X/package/voices --real DIR --judge JUDGE.py --models DIR OUT

`teacher`: ten of the teacher's voices for other languages (left out of all training), saying an English sentence.
`real`: ten people of LibriSpeech test-other, one folder of FLAC files each under --real (as the Resemblyzer repository
carries them, audio_data/librispeech_test-other); the first recording of 4 to 10 s, its text by the ASR judge.
Writes OUT/*.wav and OUT/prompts.tsv: file, kind, text.
"""

import argparse
import wave
from pathlib import Path

import numpy as np
import soundfile

VOICES = "ef_dora em_alex ff_siwis hf_alpha hf_beta hm_omega if_sara im_nicola pf_dora pm_alex".split()
SAID = (
    ("The weather was fine yesterday, and we walked along the river.",
     "ðə wˈɛðəɹ wʌz fˈIn jˈɛstəɹdˌA, ænd wi wˈɔkt əlˈɔŋ ðə ɹˈɪvəɹ."),
)  # fmt: skip
SHORTEST, LONGEST = 4.0, 10.0  # seconds of a prompt
RATE = 24000


def teacher(weights, folder, out):
    import torch

    import tokens
    from teacher import Kokoro

    model = Kokoro(torch.load(weights, weights_only=True))
    for voice in VOICES:
        text, phones = SAID[0]
        ids = torch.tensor([[0, *tokens.encode(phones), 0]])
        lengths, speed = torch.tensor([ids.shape[1]]), torch.ones(1)
        pack = np.fromfile(folder / f"{voice}.bin", "<f4").reshape(-1, 256)
        style = torch.from_numpy(pack[ids.shape[1] - 3])[None]
        with torch.no_grad():
            x, durations = model.prosody(ids, lengths, style, speed)
            owner = model.align(durations)
            wave_ = model.vocode(ids, lengths, owner, style, *model.pitch(x, owner, style))[0]
        write(out / f"{voice}.wav", 1.5 * wave_.numpy(), RATE)
        yield f"{voice}.wav", "teacher", text


def real(folder, judges, out):
    for person in sorted(p for p in folder.iterdir() if p.is_dir()):
        for path in sorted(person.glob("*.flac")):
            audio, rate = soundfile.read(path, dtype="float32")
            if SHORTEST <= len(audio) / rate <= LONGEST:
                write(out / f"p{person.name}.wav", audio, rate)
                yield f"p{person.name}.wav", "real", judges.transcribe(path, "en").strip()
                break


def write(path, audio, rate):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((np.clip(audio, -1, 1) * 32767).round().astype("<i2").tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--voices", type=Path, required=True)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    args = parser.parse_args()
    from judges import Judges

    args.out.mkdir(parents=True, exist_ok=True)
    rows = [*teacher(args.teacher, args.voices, args.out), *real(args.real, Judges(args.judge, args.models), args.out)]
    (args.out / "prompts.tsv").write_text("".join("\t".join(r) + "\n" for r in rows), encoding="utf-8")
    print(len(rows), "prompts")


if __name__ == "__main__":
    main()
