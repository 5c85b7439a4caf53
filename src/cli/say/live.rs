//! Standard input as a text that still comes.

use std::io::Read;

use tokio::runtime::Handle;

use crate::engine::LiveText;

/// Bytes read at once.
const PIECE: usize = 4_096;

/// Hands on what standard input brings, as it comes, on a thread of its own: a read that nothing comes to must not keep
/// the program from ending.
pub fn read_stdin(text: LiveText) {
    let runtime = Handle::current();
    std::thread::spawn(move || {
        pass_on(std::io::stdin().lock(), |piece| {
            runtime.block_on(text.push(piece)).is_ok()
        })
    });
}

/// Gives `take` what comes in whole characters until the end, or until it wants no more. What is no UTF-8 becomes U+FFFD.
fn pass_on(mut input: impl Read, mut take: impl FnMut(String) -> bool) {
    let (mut held, mut piece) = (Vec::new(), [0; PIECE]);
    loop {
        let read = match input.read(&mut piece) {
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                tracing::warn!(%error, "standard input");
                0
            }
        };
        held.extend_from_slice(&piece[..read]);
        let rest = match read {
            0 => held.len(),
            _ => whole_characters(&held),
        };
        let text = String::from_utf8_lossy(&held[..rest]).into_owned();
        held.drain(..rest);
        if (!text.is_empty() && !take(text)) || read == 0 {
            return;
        }
    }
}

/// Bytes before a character that is not complete yet.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) | Ok(_) => {
            // Behind something that is no UTF-8, an incomplete character may still stand at the end.
            let tail = (1..=3).take_while(|back| *back <= bytes.len());
            let begun = |back: &usize| {
                let byte = bytes[bytes.len() - back];
                let length = byte.leading_ones() as usize;
                (2..=4).contains(&length) && length > *back
            };
            bytes.len() - tail.into_iter().find(begun).unwrap_or(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives so many bytes at once.
    struct Slowly<'a>(&'a [u8], usize);

    impl Read for Slowly<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let (now, rest) = self.0.split_at(self.1.min(self.0.len()));
            out[..now.len()].copy_from_slice(now);
            self.0 = rest;
            Ok(now.len())
        }
    }

    fn pieces(bytes: &[u8], at_once: usize) -> Vec<String> {
        let mut pieces = Vec::new();
        pass_on(Slowly(bytes, at_once), |piece| {
            pieces.push(piece);
            true
        });
        pieces
    }

    #[test]
    fn characters_stay_whole() {
        let text = "Hi, 你好 😀 é!";
        for at_once in 1..8 {
            assert_eq!(pieces(text.as_bytes(), at_once).concat(), text, "{at_once}");
        }
        assert_eq!(pieces("你".as_bytes(), 1), ["你"]);
    }

    #[test]
    fn what_is_no_text_is_replaced_and_not_waited_for() {
        assert_eq!(pieces(b"a\xffb", 1), ["a", "\u{fffd}", "b"]);
        assert_eq!(pieces(b"a\xe4\xbd", 3).concat(), "a\u{fffd}");
        assert_eq!(pieces(b"\xff\xe4\xbd\xa0", 2).concat(), "\u{fffd}你");
    }

    #[test]
    fn it_stops_when_nobody_wants_more() {
        let mut taken = 0;
        pass_on(Slowly(b"abc", 1), |_| {
            taken += 1;
            false
        });
        assert_eq!(taken, 1);
    }
}
