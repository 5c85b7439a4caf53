//! Tags that a text may hold and that must reach the tokenizer as they are, though normalisation would read the digit in
//! them: generation 3's phonemes, as in `[HH][AH0][L][OW1]`. (Tags without a digit, `[j][ǐ]` or `[breath]`, pass
//! normalisation anyway.)

/// While a text is normalised, tag number n stands as this character plus n: one of no language, and no digit.
const FIRST: char = '\u{e000}';
/// So many characters are for private use from there.
const MOST: usize = 6_400;

/// The tags of a vocabulary that need shielding.
#[derive(Debug, Clone, Default)]
pub struct Tags(Vec<String>);

impl Tags {
    /// Those among `special`, a vocabulary's special tokens.
    pub fn new(special: impl IntoIterator<Item = String>) -> Self {
        // Text with tags of the other kind, "<|en|>", is not normalised at all.
        let is_read = |tag: &String| !tag.starts_with("<|") && tag.chars().any(char::is_numeric);
        Self(special.into_iter().filter(is_read).take(MOST).collect())
    }

    /// What `read` makes of `text`, whose tags it does not see.
    pub fn around(&self, text: &str, read: impl FnOnce(&str) -> String) -> String {
        let is_stand_in = |c: &char| self.number(*c).is_some();
        if !self.0.iter().any(|tag| text.contains(tag)) {
            return read(text);
        }
        // Nobody means these characters, and they must not turn into tags.
        let mut shielded: String = text.chars().filter(|c| !is_stand_in(c)).collect();
        for (tag, stand_in) in self.0.iter().zip(FIRST..) {
            shielded = shielded.replace(tag, stand_in.encode_utf8(&mut [0; 4]));
        }
        let mut out = String::with_capacity(text.len());
        for c in read(&shielded).chars() {
            match self.number(c) {
                Some(number) => out.push_str(&self.0[number]),
                None => out.push(c),
            }
        }
        out
    }

    /// The tag a character stands for.
    fn number(&self, c: char) -> Option<usize> {
        let number = u32::from(c).checked_sub(u32::from(FIRST))? as usize;
        (number < self.0.len()).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::Tags;
    use crate::text::normalize::{Language, normalize};

    fn tags() -> Tags {
        Tags::new(["[AH0]", "[OW1]", "[j]", "<|0.02|>"].map(String::from))
    }

    #[test]
    fn phonemes_keep_their_stress_and_numbers_are_read() {
        let read = |text: &str, language| tags().around(text, |text| normalize(text, language));
        let english = read("[HH][AH0][L][OW1], 3 cats", Language::English);
        assert!(
            english.starts_with("[HH][AH0][L][OW1]") && english.trim_end().ends_with("three cats"),
            "{english}"
        );
        let chinese = read("他[AH0]说了3次[j][ǐ]予", Language::Chinese);
        assert_eq!(chinese, "他[AH0]说了三次[j][ǐ]予");
        assert_eq!(read("3 cats", Language::English).trim(), "three cats");
    }

    #[test]
    fn only_tags_with_a_digit_are_shielded_and_a_stand_in_never_becomes_one() {
        let upper = |text: &str| text.to_uppercase();
        assert_eq!(tags().around("a[j]", upper), "A[J]");
        assert_eq!(tags().around("a[AH0]\u{e001}b", upper), "A[AH0]B");
        assert_eq!(Tags::default().around("[AH0]", upper), "[AH0]");
    }
}
