"""The tokens that CosyVoice adds to the text vocabulary, in the order in which their ids follow it.

What they say was chosen by whoever trained the models (the reference's `tokenizer/tokenizer.py`); the order matters.
"""

from __future__ import annotations

END_OF_PROMPT = "<|endofprompt|>"

_CHAT = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", END_OF_PROMPT]
_SOUNDS = (
    "[breath] <strong> </strong> [noise] [laughter] [cough] [clucking] [accent] [quick_breath] <laughter> </laughter> "
    "[hissing] [sigh] [vocalized-noise] [lipsmack] [mn]"
).split()
_ARPABET = (
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
).split()
_PINYIN = (
    "a ai an ang ao b c ch d e ei en eng f g h i ian in ing iu ià iàn iàng iào iá ián iáng iáo iè ié iòng ióng iù "
    "iú iā iān iāng iāo iē iě iōng iū iǎ iǎn iǎng iǎo iǒng iǔ j k l m n o ong ou p q r s sh t u uang ue un uo uà "
    "uài uàn uàng uá uái uán uáng uè ué uì uí uò uó uā uāi uān uāng uē uě uī uō uǎ uǎi uǎn uǎng uǐ uǒ vè w x y z zh "
    "à ài àn àng ào á ái án áng áo è èi èn èng èr é éi én éng ér ì ìn ìng í ín íng ò òng òu ó óng óu ù ùn ú ún ā āi "
    "ān āng āo ē ēi ēn ēng ě ěi ěn ěng ěr ī īn īng ō ōng ōu ū ūn ǎ ǎi ǎn ǎng ǎo ǐ ǐn ǐng ǒ ǒng ǒu ǔ ǔn ǘ ǚ ǜ"
).split()


def _english() -> list[str]:
    """Phonemes in brackets; vowels plain and with stress 0, 1 and 2."""
    return [f"[{p}{stress}]" for p in _ARPABET for stress in (["", *"012"] if p[0] in "AEIOU" else [""])]


SPECIAL_TOKENS = {
    2: _CHAT + _SOUNDS,
    3: _CHAT + _SOUNDS + ["<|endofsystem|>"] + _english() + [f"[{p}]" for p in _PINYIN],
}
