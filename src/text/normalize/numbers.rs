//! English words for the digits that normalisation leaves.

/// (being built)
pub fn spell_out(text: &str) -> String {
    text.to_owned()
}
