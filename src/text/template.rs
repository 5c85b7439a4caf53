//! What generation 3 reads before a text: a system prompt that ends with `<|endofprompt|>`. The reference's users write
//! it themselves (its example.py); here it is added where the request has no marker of its own. Only the words before
//! the marker count as such a prompt, so the text behind it is normalised and split like any other.

/// The system prompt that the model was trained with.
const ASSISTANT: &str = "You are a helpful assistant.";

/// The prompt before a transcript or a text that has none.
pub fn plain(marker: &str) -> String {
    format!("{ASSISTANT}{marker}")
}

/// An instruction as the model was trained with it; one that ends with the marker is the caller's own business.
pub fn instruction(instruct_text: &str, marker: &str) -> String {
    let instruct_text = instruct_text.trim();
    if instruct_text.contains(marker) {
        instruct_text.to_owned()
    } else if instruct_text.is_empty() {
        plain(marker)
    } else if instruct_text.starts_with(ASSISTANT) {
        format!("{instruct_text}{marker}")
    } else {
        format!("{ASSISTANT} {instruct_text}{marker}")
    }
}

/// A text's own prompt, its last marker included, and what follows it.
pub fn split_own<'a>(text: &'a str, marker: &str) -> (Option<&'a str>, &'a str) {
    match text.rfind(marker) {
        Some(at) => {
            let (prompt, rest) = text.split_at(at + marker.len());
            (Some(prompt), rest)
        }
        None => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKER: &str = "<|endofprompt|>";

    #[test]
    fn prompts_are_those_of_the_references_examples() {
        assert_eq!(plain(MARKER), "You are a helpful assistant.<|endofprompt|>");
        let dialect = "You are a helpful assistant. 请用广东话表达。<|endofprompt|>";
        for given in [
            "请用广东话表达。",
            " 请用广东话表达。 ",
            &dialect[..dialect.len() - MARKER.len()],
            dialect,
        ] {
            assert_eq!(instruction(given, MARKER), dialect);
        }
        assert_eq!(instruction("", MARKER), plain(MARKER));
        assert_eq!(
            instruction("Sing.<|endofprompt|>", MARKER),
            "Sing.<|endofprompt|>"
        );
    }

    #[test]
    fn a_texts_own_prompt_ends_at_its_last_marker() {
        assert_eq!(split_own("Hello.", MARKER), (None, "Hello."));
        assert_eq!(
            split_own("Be brief.<|endofprompt|>3 cats", MARKER),
            (Some("Be brief.<|endofprompt|>"), "3 cats")
        );
        let (prompt, rest) = split_own("a<|endofprompt|>b<|endofprompt|>", MARKER);
        assert_eq!((prompt, rest), (Some("a<|endofprompt|>b<|endofprompt|>"), ""));
    }
}
