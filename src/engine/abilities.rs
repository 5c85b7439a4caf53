//! What the loaded model can be asked for, and what to say to those who ask for something else. The one place where
//! modes of requests meet generations and variants; the table in README.md is checked against it.

use super::Mode;
use crate::model::bundle::Manifest;
use crate::text::interleave::Mix;
use crate::{Error, Result};

/// One thing that a model may be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// A voice known by its embedding alone.
    Preset,
    /// A cloned voice, by its id.
    Clone,
    /// A recording with its transcript.
    ZeroShot,
    /// A recording without its transcript.
    CrossLingual,
    /// A known voice and an instruction.
    Instruct,
    /// A recording and an instruction.
    InstructPrompt,
    /// Speech to speech.
    Convert,
}

impl Ability {
    /// What `mode` needs; `cloned`: its voice, if it names one, has a prompt.
    pub fn of(mode: &Mode, cloned: bool) -> Self {
        match mode {
            Mode::Sft { .. } if cloned => Ability::Clone,
            Mode::Sft { .. } => Ability::Preset,
            Mode::ZeroShot { .. } => Ability::ZeroShot,
            Mode::CrossLingual { .. } => Ability::CrossLingual,
            Mode::Instruct { .. } => Ability::Instruct,
            Mode::InstructPrompt { .. } => Ability::InstructPrompt,
            Mode::Convert { .. } => Ability::Convert,
        }
    }

    /// Its name in a manifest's `modes`.
    fn mode(self) -> &'static str {
        match self {
            Ability::Preset => "sft",
            Ability::Clone | Ability::ZeroShot => "zero_shot",
            Ability::CrossLingual => "cross_lingual",
            Ability::Instruct | Ability::InstructPrompt => "instruct",
            Ability::Convert => "vc",
        }
    }

    /// The first generation whose models can have it.
    fn since(self) -> u32 {
        match self {
            Ability::InstructPrompt => 2,
            _ => 1,
        }
    }

    /// Where it is asked for, what a model without it does not do, and which published models have it.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        const WITH_PROMPTS: &str = "CosyVoice-300M, CosyVoice2-0.5B or Fun-CosyVoice3-0.5B";
        match self {
            Ability::Preset => (
                "tts",
                "does not speak with preset voices (sft)",
                "CosyVoice-300M-SFT, CosyVoice-300M-Instruct, CosyVoice2-0.5B or Fun-CosyVoice3-0.5B",
            ),
            Ability::Clone => (
                "tts",
                "does not speak with cloned voices (zero_shot)",
                WITH_PROMPTS,
            ),
            Ability::ZeroShot => (
                "tts/zero_shot",
                "does not speak with recorded voices (zero_shot)",
                WITH_PROMPTS,
            ),
            Ability::CrossLingual => (
                "tts/cross_lingual",
                "does not speak with recorded voices (cross_lingual)",
                WITH_PROMPTS,
            ),
            Ability::Instruct => (
                "tts/instruct",
                "takes no instructions (instruct)",
                "CosyVoice-300M-Instruct, CosyVoice2-0.5B or Fun-CosyVoice3-0.5B",
            ),
            Ability::InstructPrompt => (
                "instruct2",
                "takes no instructions with a recording (instruct2)",
                "CosyVoice2-0.5B or Fun-CosyVoice3-0.5B",
            ),
            Ability::Convert => ("tts/vc", "does not convert speech (vc)", WITH_PROMPTS),
        }
    }

    /// What else may serve whoever asked for it, most alike first, and how to ask for that.
    fn instead(self) -> &'static [(Ability, &'static str)] {
        match self {
            Ability::Preset => &[
                (Ability::Clone, "clone a voice with /clone"),
                (Ability::ZeroShot, "send a recording to /tts/zero_shot"),
            ],
            Ability::Clone => &[(Ability::Preset, "take a built-in voice")],
            Ability::ZeroShot | Ability::CrossLingual => {
                &[(Ability::Preset, "take a built-in voice with /tts")]
            }
            Ability::Instruct => &[],
            Ability::InstructPrompt => &[(Ability::Instruct, "take a known voice with /tts/instruct")],
            Ability::Convert => &[],
        }
    }
}

/// The abilities of one model.
#[derive(Debug, Clone)]
pub struct Abilities {
    name: String,
    generation: u32,
    modes: Option<Vec<String>>,
    mix: Option<Mix>,
}

impl Abilities {
    /// Those of the model that `manifest` describes.
    pub fn of(manifest: &Manifest) -> Self {
        let may = manifest.bistream.unwrap_or(manifest.generation == 2);
        let mix = manifest.llm.mix_ratio.zip(manifest.llm.fill);
        let mix = mix.map(|([text, speech], fill)| Mix { text, speech, fill });
        Self {
            name: manifest.name.clone(),
            generation: manifest.generation,
            modes: manifest.modes.clone(),
            mix: mix.filter(|mix| may && mix.text > 0 && mix.speech > 0),
        }
    }

    /// Whether the model can do this: its manifest's `modes` rule where there are any.
    pub fn has(&self, ability: Ability) -> bool {
        let listed = |modes: &Vec<String>| modes.iter().any(|mode| mode == ability.mode());
        self.generation >= ability.since() && self.modes.as_ref().is_none_or(listed)
    }

    /// How the model reads text that streams in; `None`: it is given whole sentences.
    pub fn mix(&self) -> Option<Mix> {
        self.mix
    }

    /// Refuses what the model cannot do.
    ///
    /// # Errors
    /// [`Error::Unsupported`] (400), naming where it was asked for, the model, the mode and what can do it.
    pub fn check(&self, ability: Ability) -> Result<()> {
        if self.has(ability) {
            return Ok(());
        }
        let (place, lacks, models) = ability.words();
        let other = ability.instead().iter().find(|(other, _)| self.has(*other));
        let other = other.map(|(_, how)| format!("{how}, or ")).unwrap_or_default();
        let name = &self.name;
        Err(Error::Unsupported(format!(
            "{place}: {name} {lacks}; {other}load {models}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(Ability, &str); 7] = [
        (Ability::Preset, "`/tts`, built-in voice"),
        (Ability::Clone, "`/tts`, cloned voice"),
        (Ability::ZeroShot, "`/tts/zero_shot`"),
        (Ability::CrossLingual, "`/tts/cross_lingual`"),
        (Ability::Instruct, "`/tts/instruct`"),
        (Ability::InstructPrompt, "instruction and recording"),
        (Ability::Convert, "`/tts/vc`"),
    ];

    fn model(name: &str, generation: u32, modes: Option<&[&str]>) -> Abilities {
        let mix = Mix {
            text: 5,
            speech: 15,
            fill: 6563,
        };
        Abilities {
            name: name.into(),
            generation,
            modes: modes.map(|modes| modes.iter().map(|mode| mode.to_string()).collect()),
            mix: (generation > 1).then_some(mix),
        }
    }

    /// The published models, with the modes that the exporter writes (onnx/cosyserve_onnx/gen1/export.py).
    fn published() -> [Abilities; 5] {
        [
            model("CosyVoice-300M", 1, Some(&["zero_shot", "cross_lingual", "vc"])),
            model("CosyVoice-300M-SFT", 1, Some(&["sft"])),
            model("CosyVoice-300M-Instruct", 1, Some(&["instruct", "sft"])),
            model("CosyVoice2-0.5B", 2, None),
            model("Fun-CosyVoice3-0.5B", 3, None),
        ]
    }

    /// Guarantees that the README's table says what the code does, for every mode of every model.
    #[test]
    fn the_readme_tells_what_each_model_can_do() {
        let readme = include_str!("../../README.md");
        let cells = |line: &str| -> Vec<String> {
            line.trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().into())
                .collect()
        };
        let rows: Vec<Vec<String>> = readme
            .lines()
            .filter(|line| line.starts_with('|'))
            .map(cells)
            .collect();
        let row = |name: &str| rows.iter().find(|row| row[0] == name).cloned();
        let models = published();
        let names: Vec<String> = models.iter().map(|model| model.name.clone()).collect();
        assert_eq!(row("what is asked for").unwrap()[1..], names);
        for (ability, name) in ALL {
            let said = row(name).unwrap_or_else(|| panic!("README.md has no row {name}"));
            let done: Vec<&str> = models
                .iter()
                .map(|model| if model.has(ability) { "yes" } else { "" })
                .collect();
            assert_eq!(said[1..], done, "{name}");
        }
        let live: Vec<&str> = models
            .iter()
            .map(|model| model.mix().map_or("by sentences", |_| "yes"))
            .collect();
        assert_eq!(row("text that streams in").unwrap()[1..], live);
    }

    #[test]
    fn refusals_name_model_mode_and_what_can() {
        let refusal = |model: &Abilities, ability| match model.check(ability) {
            Err(Error::Unsupported(text)) => text,
            other => panic!("{other:?}"),
        };
        let [base, sft, instruct, ..] = published();
        assert_eq!(
            refusal(&sft, Ability::Instruct),
            "tts/instruct: CosyVoice-300M-SFT takes no instructions (instruct); load CosyVoice-300M-Instruct, \
             CosyVoice2-0.5B or Fun-CosyVoice3-0.5B"
        );
        assert_eq!(
            refusal(&base, Ability::Preset),
            "tts: CosyVoice-300M does not speak with preset voices (sft); clone a voice with /clone, or load \
             CosyVoice-300M-SFT, CosyVoice-300M-Instruct, CosyVoice2-0.5B or Fun-CosyVoice3-0.5B"
        );
        assert_eq!(
            refusal(&instruct, Ability::InstructPrompt),
            "instruct2: CosyVoice-300M-Instruct takes no instructions with a recording (instruct2); take a known \
             voice with /tts/instruct, or load CosyVoice2-0.5B or Fun-CosyVoice3-0.5B"
        );
        assert!(
            refusal(&sft, Ability::Clone).starts_with("tts: CosyVoice-300M-SFT does not speak with cloned")
        );
        assert!(refusal(&sft, Ability::Convert).contains("(vc); load CosyVoice-300M, "));
    }

    /// Guarantees that a refusal never sends anybody to a model or a route that would refuse too.
    #[test]
    fn what_a_refusal_recommends_can_do_it() {
        for model in published() {
            for (ability, _) in ALL {
                let Err(Error::Unsupported(text)) = model.check(ability) else {
                    assert!(model.has(ability));
                    continue;
                };
                assert!(text.contains(&model.name) && text.contains(';'), "{text}");
                let (_, advice) = text.rsplit_once("load ").unwrap();
                let named: Vec<&str> = advice.split(", ").flat_map(|part| part.split(" or ")).collect();
                for other in published() {
                    assert_eq!(named.contains(&other.name.as_str()), other.has(ability), "{text}");
                }
            }
        }
    }
}
