//! From the request's text to the ids of the language model.
//!
//! ```text
//! tts_text -> normalize (numbers to words, clean-ups) -> split (segments) -> tokenizer (ids) -> layout (LM input)
//! ```
//!
//! Pure functions over strings; the only I/O is reading the bundle's `tokenizer.json`. Each module names the
//! upstream file it mirrors and lists where it departs from it on purpose.
pub mod frontend;
pub mod interleave;
pub mod layout;
pub mod live;
pub mod normalize;
pub mod split;
pub mod tags;
pub mod template;
pub mod tokenizer;

pub use frontend::{TextFrontend, with_end_of_prompt};
pub use layout::{LayoutIds, LmInput, lay_out};
pub use normalize::Language;
pub use tokenizer::TextTokenizer;
