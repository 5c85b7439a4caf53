//! The text tokenizer of the bundle: a `tokenizer.json` read by the `tokenizers` crate.
//!
//! Mirrors `cosyvoice/tokenizer/tokenizer.py` (`CosyVoice2Tokenizer`): byte-level BPE; the special tokens
//! (`<|endofprompt|>`, `[laughter]`, `<strong>`, ...) are recognised wherever they stand in the text and nothing is
//! added around it.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::{Error, Result};

/// Text to ids and back. Cheap to call from many threads at once.
pub struct TextTokenizer {
    inner: Tokenizer,
}

impl TextTokenizer {
    /// Reads `tokenizer.json`.
    pub fn from_file(path: &Path) -> Result<Self> {
        let inner = Tokenizer::from_file(path)
            .map_err(|e| Error::internal(&format!("reading the tokenizer {}", path.display()), e))?;
        Ok(Self { inner })
    }

    /// Ids of `text`.
    pub fn encode(&self, text: &str) -> Result<Vec<i64>> {
        let encoding = self.encoding(text)?;
        Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
    }

    /// How many ids `text` has.
    pub fn count(&self, text: &str) -> Result<usize> {
        Ok(self.encoding(text)?.len())
    }

    /// Text of `ids`, special tokens included.
    pub fn decode(&self, ids: &[i64]) -> Result<String> {
        let ids: Vec<u32> = ids
            .iter()
            .map(|&id| u32::try_from(id).map_err(|e| Error::internal("decoding text ids", e)))
            .collect::<Result<_>>()?;
        self.inner
            .decode(&ids, false)
            .map_err(|e| Error::internal("decoding text ids", e))
    }

    /// Id of a special token, if the vocabulary has it.
    pub fn special(&self, token: &str) -> Option<i64> {
        self.inner.token_to_id(token).map(i64::from)
    }

    /// Texts of all special tokens.
    pub fn special_tokens(&self) -> impl Iterator<Item = String> {
        let added = self.inner.get_added_tokens_decoder();
        added
            .into_values()
            .filter(|token| token.special)
            .map(|token| token.content)
    }

    fn encoding(&self, text: &str) -> Result<tokenizers::Encoding> {
        self.inner
            .encode_fast(text, false)
            .map_err(|e| Error::internal("tokenising text", e))
    }
}
