//! Runs of silent speech tokens are cut short before the flow (cli/model.py `llm_job`): the language model keeps them
//! in its context, the listener does not wait for them.

/// Counts the current run of silent tokens.
#[derive(Debug)]
pub struct SilenceCap<'a> {
    silent: &'a [usize],
    kept: usize,
    run: usize,
}

impl<'a> SilenceCap<'a> {
    /// `silent` are the model's silent tokens, `kept` how many of a run are spoken; no silent ones means nothing is ever
    /// dropped.
    pub fn new(silent: &'a [usize], kept: usize) -> Self {
        Self { silent, kept, run: 0 }
    }

    /// Whether the next token of the sequence is to be spoken.
    pub fn keeps(&mut self, token: usize) -> bool {
        if !self.silent.contains(&token) {
            self.run = 0;
            return true;
        }
        self.run += 1;
        self.run <= self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_silent_token_in_a_row_is_dropped() {
        let mut cap = SilenceCap::new(&[1, 2], 5);
        let kept: Vec<bool> = [1, 2, 1, 1, 1, 1, 2, 9, 1]
            .iter()
            .map(|&t| cap.keeps(t))
            .collect();
        assert_eq!(kept, [true, true, true, true, true, false, false, true, true]);
    }
}
