"""What the flow hears of a built-in voice besides its speaker embedding: one sentence said by the teacher.

    python voice_prompts.py --pack P --out PARTS        # PARTS/voices.prompt.pt: codes and mel of each voice

The flow is trained to go on from a prompt; with one, about a quarter fewer Mandarin syllables are heard wrong than with
an embedding alone. The language model does not get it: it would speak in the prompt's language.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F

import features
import flow
from generate import Studio
from identities import BUILT_IN, NORMAL
from phonemize import g2p
from training import save

# Mandarin: of five for each voice, the ones after which fifty other sentences were heard best.
SAID = {
    "英文女": "Thank you for calling. Please tell me how I can help you today.",
    "英文男": "Thank you for calling. Please tell me how I can help you today.",
    "中文女": "可怜虫打道回府初生儿宁镇香肠。",
    "中文男": "玄武线状沦落罗清泉类转危为安。",
}


def say(studio, sentences):
    """One phoneme string for each built-in voice -> {voice: (codes (1, N), mel (1, 2N, 80))}

    N is a number of whole chunks, so that the first chunk of a stream is a whole one too: the beginning is cut off.
    """
    studio.read(sentences.values())
    out = {}
    for number, voice in enumerate(sentences):
        o = studio.speak([(number, studio.names.index(BUILT_IN[voice]), 1.0, NORMAL)])
        wave = studio.teacher.vocode(o["ids"], o["lengths"], o["owner"], o["style"], o["f0"], o["energy"])
        first, count = int(o["cut"][0]), int(o["counts"][0])
        wave = F.pad(wave, (0, 960))[:, 960 * first : 960 * (first + count)]  # the last slot may be cut short
        mel = features.mel(1.5 * wave, studio.banks["mel"]).transpose(1, 2)  # as loud as generate.py makes it
        kept = count - count % flow.CHUNK
        out[voice] = o["codes"][:, count - kept : count].to(torch.int32).cpu(), mel[:, -2 * kept :].cpu()
    return out


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    convert = {language: g2p(language) for language in ("en", "zh")}
    studio = Studio(args.pack, args.device, 0, 0.0, made=0)
    studio.measure_pitch(4)
    phones = {voice: convert["zh" if BUILT_IN[voice][0] == "z" else "en"](text)[0] for voice, text in SAID.items()}
    said = say(studio, phones)
    save(
        {v: {"flow_prompt_speech_token": c, "prompt_speech_feat": m} for v, (c, m) in said.items()},
        args.out / "voices.prompt.pt",
    )
    print({voice: f"{codes.shape[1] / 25:.1f} s" for voice, (codes, _) in said.items()})


if __name__ == "__main__":
    main()
