//! Audio at the edges: what clients send becomes samples, what the models make becomes bytes.
//!
//! | file | what it does |
//! |---|---|
//! | [`base64`] | audio inside JSON fields |
//! | [`decode`] | files of any common format to mono samples |
//! | [`prompt`] | prompt recordings as the models expect them |
//! | [`source`] | recordings to be spoken by another voice |
//! | [`encode`] | one encoder per answer: MP3, L16, WAV, FLAC, Ogg Opus |

pub mod base64;
pub mod decode;
pub mod encode;
pub mod prompt;
pub mod source;
