//! The language model's input, in the one id space of the bundle (`onnx/BUNDLE.md`).
//!
//! Mirrors `inference` of `Qwen2LM` and `TransformerLM` in `cosyvoice/llm/llm.py`: `[sos, prompt text, text, task, prompt
//! speech]`, where the model reads rows with one for the speaker before the text if it is told who speaks; and at
//! least `min_ratio`, at most `max_ratio` speech tokens per token of the text to speak (the prompt's text does not
//! count).

use crate::limits::SEGMENT_TEXT_TOKENS;
use crate::{Error, Result};

/// What the layout needs to know of the model.
#[derive(Debug, Clone, Copy)]
pub struct LayoutIds {
    /// Text ids are below this.
    pub text_vocab: i64,
    /// Id of speech token 0.
    pub speech_offset: i64,
    /// Real speech tokens are below this.
    pub speech_tokens: i64,
    /// Start-of-sequence id.
    pub sos_id: i64,
    /// Task id (end of text, start of speech).
    pub task_id: i64,
    /// Least speech tokens per text token.
    pub min_ratio: f32,
    /// Most speech tokens per text token.
    pub max_ratio: f32,
    /// The longest sequence the model can hold, prompt and speech together.
    pub max_positions: usize,
    /// Id of the first prompt row, where the model reads the text as rows: the speaker's, then one per text id.
    pub rows_offset: Option<i64>,
}

/// Where decoding starts and between which lengths it stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LmInput {
    /// Ids to prefill.
    pub ids: Vec<i64>,
    /// Speech tokens before the end may be sampled.
    pub min_tokens: usize,
    /// Speech tokens at which decoding stops.
    pub max_tokens: usize,
    /// Text ids that the rows are made of which `ids` names; `None`: `ids` are the text's own.
    pub text: Option<Vec<i64>>,
}

/// Lays out one segment. `prompt_text` and `prompt_speech` are empty for voices without a prompt; an instruction
/// goes in `prompt_text` with `prompt_speech` empty. `speaker`: a model that reads rows is told who speaks.
pub fn lay_out(
    ids: &LayoutIds,
    speaker: bool,
    prompt_text: &[i64],
    text: &[i64],
    prompt_speech: &[i64],
) -> Result<LmInput> {
    let text_tokens = prompt_text.len() + text.len();
    if text.is_empty() {
        return Err(Error::invalid("tts_text has nothing to speak"));
    }
    if text_tokens > SEGMENT_TEXT_TOKENS {
        return Err(Error::Invalid(format!(
            "prompt and text have {text_tokens} text tokens together; the limit is {SEGMENT_TEXT_TOKENS}"
        )));
    }
    if let Some(id) = prompt_text
        .iter()
        .chain(text)
        .find(|&&id| !(0..ids.text_vocab).contains(&id))
    {
        return Err(Error::Internal(format!(
            "text id {id} is outside the model's {}",
            ids.text_vocab
        )));
    }
    if let Some(id) = prompt_speech
        .iter()
        .find(|&&id| !(0..ids.speech_tokens).contains(&id))
    {
        return Err(Error::Internal(format!(
            "speech token {id} is outside the model's {}",
            ids.speech_tokens
        )));
    }
    let all_text = [prompt_text, text].concat();
    let mut row = Vec::with_capacity(text_tokens + prompt_speech.len() + 3);
    row.push(ids.sos_id);
    match ids.rows_offset {
        None => row.extend_from_slice(&all_text),
        Some(first) => {
            let text = first + 1;
            let from = if speaker { first } else { text };
            row.extend(from..text + text_tokens as i64);
        }
    }
    row.push(ids.task_id);
    row.extend(prompt_speech.iter().map(|id| ids.speech_offset + id));

    let room = ids.max_positions.saturating_sub(row.len());
    let max_tokens = ((text.len() as f32 * ids.max_ratio) as usize).min(room);
    if max_tokens == 0 {
        return Err(Error::Invalid(format!(
            "the prompt leaves no room for speech: {} of {} positions are taken",
            row.len(),
            ids.max_positions
        )));
    }
    let min_tokens = ((text.len() as f32 * ids.min_ratio) as usize).min(max_tokens);
    Ok(LmInput {
        ids: row,
        min_tokens,
        max_tokens,
        text: ids.rows_offset.map(|_| all_text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: LayoutIds = LayoutIds {
        text_vocab: 100,
        speech_offset: 100,
        speech_tokens: 50,
        sos_id: 160,
        task_id: 161,
        min_ratio: 2.0,
        max_ratio: 20.0,
        max_positions: 120,
        rows_offset: None,
    };

    #[test]
    fn orders_the_parts_and_counts_only_the_text() {
        let input = lay_out(&IDS, true, &[1, 2], &[3, 4, 5], &[0, 49]).unwrap();
        assert_eq!(input.ids, [160, 1, 2, 3, 4, 5, 161, 100, 149]);
        assert_eq!((input.min_tokens, input.max_tokens), (6, 60));
    }

    #[test]
    fn rows_stand_for_speaker_and_text() {
        let ids = LayoutIds {
            rows_offset: Some(200),
            ..IDS
        };
        let told = lay_out(&ids, true, &[9], &[3, 4], &[7]).unwrap();
        assert_eq!(told.ids, [160, 200, 201, 202, 203, 161, 107]);
        assert_eq!(told.text, Some(vec![9, 3, 4]));
        assert_eq!((told.min_tokens, told.max_tokens), (4, 40));
        let untold = lay_out(&ids, false, &[9], &[3, 4], &[]).unwrap();
        assert_eq!(untold.ids, [160, 201, 202, 203, 161]);
        assert_eq!(lay_out(&IDS, true, &[9], &[3, 4], &[]).unwrap().text, None);
    }

    #[test]
    fn never_promises_more_positions_than_the_model_has() {
        let input = lay_out(&IDS, true, &[], &[7; 10], &[1; 8]).unwrap();
        assert_eq!(input.ids.len(), 20);
        assert_eq!((input.min_tokens, input.max_tokens), (20, 100));
        assert!(matches!(
            lay_out(&IDS, true, &[], &[7], &[1; 200]),
            Err(Error::Invalid(_))
        ));
    }

    #[test]
    fn refuses_what_is_outside_the_id_space() {
        assert!(matches!(
            lay_out(&IDS, true, &[], &[], &[]),
            Err(Error::Invalid(_))
        ));
        assert!(matches!(
            lay_out(&IDS, true, &[], &[100], &[]),
            Err(Error::Internal(_))
        ));
        assert!(matches!(
            lay_out(&IDS, true, &[], &[1], &[50]),
            Err(Error::Internal(_))
        ));
        assert!(matches!(
            lay_out(&IDS, true, &[1; 2000], &[1], &[]),
            Err(Error::Invalid(_))
        ));
    }
}
