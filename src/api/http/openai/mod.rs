//! `/v1`: OpenAI's speech API over the same engine, so that its clients need another address and nothing else.
//!
//! | file | what it has |
//! |---|---|
//! | [`wire`] | requests, answers and events as OpenAI writes them |
//! | [`names`] | OpenAI's names of models and voices, and what they mean here |
//! | [`speech`] | `/v1/audio/speech` |
//! | [`events`] | its answer as server-sent events |
//! | [`lists`] | models and voices |
//! | [`errors`] | errors as OpenAI's clients read them |

pub mod errors;
pub mod events;
pub mod lists;
pub mod names;
pub mod speech;
pub mod wire;
