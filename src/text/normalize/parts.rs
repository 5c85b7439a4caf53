//! Where a long text may be cut for reading without harm to what is read.

/// The byte after the first part of `text`. A part has at most `usual` bytes and ends with a sentence or else between
/// two words that have nothing to do with a number; where there is no such place it may have up to `most` bytes.
pub fn end_of_first(text: &str, (usual, most): (usize, usize)) -> usize {
    if text.len() <= usual {
        return text.len();
    }
    cut(text, usual, is_sentence_end)
        .or_else(|| cut(text, usual, is_between_words))
        .or_else(|| (text.len() <= most).then_some(text.len()))
        .or_else(|| cut(text, most, is_sentence_end))
        .or_else(|| cut(text, most, is_between_words))
        .or_else(|| cut(text, most, |head, _| head.ends_with(char::is_whitespace)))
        .unwrap_or_else(|| text.floor_char_boundary(most))
}

/// The last place in the second half of the first `size` bytes that suits.
fn cut(text: &str, size: usize, suits: impl Fn(&str, &str) -> bool) -> Option<usize> {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    ends.skip_while(|&at| at <= size / 2)
        .take_while(|&at| at <= size)
        .filter(|&at| suits(&text[..at], &text[at..]))
        .last()
}

fn is_sentence_end(head: &str, tail: &str) -> bool {
    if head.ends_with(['\n', '。', '！', '？', '；']) {
        return true;
    }
    if !tail.starts_with(char::is_whitespace) || tail.trim_start().starts_with(|c: char| c.is_numeric()) {
        return false;
    }
    match head.strip_suffix(['.', '!', '?', ';']) {
        // A full stop after a short word may be that of "Dr." or "Jan.".
        Some(before) if head.ends_with('.') => {
            let word = before
                .rsplit(|c: char| !c.is_alphanumeric())
                .next()
                .unwrap_or_default();
            word.chars().count() > 3 || word.ends_with(|c: char| c.is_ascii_digit())
        }
        found => found.is_some(),
    }
}

fn is_between_words(head: &str, tail: &str) -> bool {
    let wordy = |c: char| c.is_alphabetic() || matches!(c, ',' | '，' | '、');
    let word = head.trim_end();
    (head.ends_with(char::is_whitespace) || head.ends_with(['，', '、']))
        && word.ends_with(wordy)
        && !word[..word.len() - word.chars().next_back().map_or(0, char::len_utf8)]
            .ends_with(|c: char| c.is_numeric())
        && tail.starts_with(char::is_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str, size: usize) -> &str {
        &text[..end_of_first(text, (size, 4 * size))]
    }

    #[test]
    fn cuts_where_no_number_is_torn() {
        assert_eq!(first("short", 10), "short");
        assert_eq!(first("They came today. Then they left", 20), "They came today.");
        assert_eq!(first("It is said that Dr. Smith came", 20), "It is said that ");
        assert_eq!(first("he came on March 5, 2024 or 6 May", 18), "he came on ");
        assert_eq!(first("1 2 3 4 5 6 7 8 9", 5), "1 2 3 4 5 6 7 8 9");
        assert_eq!(first("1 2 3 4 5 6 7 8 9 1 2 3 4", 5), "1 2 3 4 5 6 7 8 9 1 ");
        assert_eq!(first(&"1".repeat(50), 5).len(), 20);
        assert_eq!(first("今天。明天。后天。", 20), "今天。明天。");
    }
}
