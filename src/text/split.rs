//! Cuts a normalised text into segments the model speaks one after the other.
//!
//! Mirrors `split_paragraph` and `is_only_punctuation` in `cosyvoice/utils/frontend_utils.py`: the text is cut after
//! sentence marks (a closing quote stays with its sentence) and the pieces are gathered greedily: a segment is closed
//! when one more piece would make it longer than `max` and it is already longer than `min`; a last segment shorter
//! than `merge` joins the one before. Chinese is measured in characters, other languages in tokens.
//!
//! Departures: a quote after nothing but marks does not crash; a sentence without any mark that is longer than
//! [`LONGEST`] tokens is cut near its middle, at a comma or space where there is one (the reference would hand the
//! model a segment it cannot finish); pieces without a letter or digit are dropped even if they hold spaces.

use crate::Result;
use crate::text::normalize::Language;

/// Sizes that steer the splitter.
#[derive(Debug, Clone, Copy)]
pub struct SplitRule {
    /// A segment does not grow beyond this ...
    pub max: usize,
    /// ... once it is longer than this.
    pub min: usize,
    /// A last segment shorter than this joins the one before.
    pub merge: usize,
    /// Whether commas end a piece.
    pub commas: bool,
}

impl Default for SplitRule {
    fn default() -> Self {
        Self {
            max: 80,
            min: 60,
            merge: 20,
            commas: false,
        }
    }
}

/// Most text tokens of a segment. Pieces between sentence marks that are longer are cut, because a segment's cost grows
/// with the square of its length; 100 is what the splitter itself can reach (80, and 20 that were merged).
pub const LONGEST: usize = 100;

const MARKS_ZH: [char; 10] = ['。', '？', '！', '；', '：', '、', '.', '?', '!', ';'];
const MARKS_EN: [char; 5] = ['.', '?', '!', ';', ':'];

fn is_mark(c: char, language: Language, commas: bool) -> bool {
    let mark = match language {
        Language::Chinese => MARKS_ZH.contains(&c),
        Language::English => MARKS_EN.contains(&c),
    };
    mark || (commas && matches!(c, '，' | ','))
}

/// Segments of `text`; `count` tells how many tokens a string has.
pub fn split(
    text: &str,
    language: Language,
    rule: SplitRule,
    mut count: impl FnMut(&str) -> Result<usize>,
) -> Result<Vec<String>> {
    let Some(last) = text.chars().next_back() else {
        return Ok(Vec::new());
    };
    let mut text = text.to_owned();
    if !is_mark(last, language, rule.commas) {
        text.push(if language == Language::Chinese { '。' } else { '.' });
    }
    let mut measure = |s: &str| match language {
        Language::Chinese => Ok(s.chars().count()),
        Language::English => count(s),
    };

    let mut segments: Vec<String> = Vec::new();
    let mut current = String::new();
    let mut current_size = 0;
    for piece in pieces(&text, language, rule.commas) {
        let before = current.len();
        current.push_str(&piece);
        let mut size = measure(&current)?;
        if size > rule.max && current_size > rule.min {
            current.truncate(before);
            segments.push(std::mem::replace(&mut current, piece));
            size = measure(&current)?;
        }
        current_size = size;
    }
    if !current.is_empty() {
        match segments.last_mut() {
            Some(previous) if current_size < rule.merge => previous.push_str(&current),
            _ => segments.push(current),
        }
    }
    Ok(segments)
}

/// The text cut after each mark. Of a run of marks only the first is kept, as upstream does.
fn pieces(text: &str, language: Language, commas: bool) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if !is_mark(c, language, commas) {
            continue;
        }
        let end = at + c.len_utf8();
        if at > start {
            pieces.push(text[start..end].to_owned());
        }
        start = end;
        if let Some(&(at, quote @ ('"' | '”'))) = chars.peek() {
            if let Some(piece) = pieces.last_mut() {
                piece.push(quote);
            }
            start = at + quote.len_utf8();
        }
    }
    pieces
}

/// Halves segments over [`LONGEST`] tokens until none is left.
pub fn cut_long(segments: Vec<String>, mut count: impl FnMut(&str) -> Result<usize>) -> Result<Vec<String>> {
    let mut done = Vec::with_capacity(segments.len());
    let mut todo: Vec<String> = segments;
    todo.reverse();
    while let Some(segment) = todo.pop() {
        // Three bytes per token or more is typical, one the least: short segments need no counting.
        if segment.len() <= LONGEST || count(&segment)? <= LONGEST {
            done.push(segment);
            continue;
        }
        let cut = middle(&segment);
        let (head, tail) = segment.split_at(cut);
        if head.is_empty() || tail.is_empty() {
            done.push(segment);
            continue;
        }
        todo.push(tail.to_owned());
        todo.push(head.to_owned());
    }
    Ok(done)
}

/// The byte after the break nearest the middle, looking at the middle half only: sentence mark or comma, else space,
/// else simply the middle, but not inside a tag such as `[AH0]`.
fn middle(text: &str) -> usize {
    let (low, high, centre) = (text.len() / 4, text.len() * 3 / 4, text.len() / 2);
    let near = |wanted: &dyn Fn(char) -> bool| {
        text.char_indices()
            .filter(|&(at, c)| wanted(c) && (low..high).contains(&at))
            .map(|(at, c)| at + c.len_utf8())
            .min_by_key(|at| at.abs_diff(centre))
    };
    near(&|c| "。？！；：、，,.?!;:".contains(c))
        .or_else(|| near(&char::is_whitespace))
        .unwrap_or_else(|| {
            let head = &text[..text.floor_char_boundary(centre)];
            match head.rfind('[') {
                Some(open) if open >= low && !head[open..].contains(']') => open,
                _ => head.len(),
            }
        })
}

/// Whether there is anything to say: a letter or a digit outside `<|...|>` tags.
pub fn is_speakable(text: &str) -> bool {
    let mut rest = text;
    while let Some(open) = rest.find("<|") {
        if rest[..open].chars().any(char::is_alphanumeric) {
            return true;
        }
        match rest[open..].find("|>") {
            Some(close) => rest = &rest[open + close + 2..],
            None => break,
        }
    }
    rest.chars().any(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zh(text: &str) -> Vec<String> {
        split(text, Language::Chinese, SplitRule::default(), |_| Ok(0)).unwrap()
    }

    fn words(text: &str) -> Result<usize> {
        Ok(text.split_whitespace().count())
    }

    #[test]
    fn no_cut_goes_through_a_tag() {
        let text = "[HH][AH0][L][OW1]".repeat(40);
        let tags = |s: &str| Ok(s.matches('[').count());
        let cut = cut_long(vec![text.clone()], tags).unwrap();
        assert!(cut.len() > 1 && cut.concat() == text);
        assert!(
            cut.iter().all(|s| s.starts_with('[') && s.ends_with(']')),
            "{cut:?}"
        );
    }

    #[test]
    fn adds_the_missing_mark() {
        assert_eq!(zh("你好"), ["你好。"]);
        assert_eq!(zh("你好！"), ["你好！"]);
        assert_eq!(
            split("hi", Language::English, SplitRule::default(), words).unwrap(),
            ["hi."]
        );
        assert!(zh("").is_empty());
    }

    #[test]
    fn quotes_stay_with_their_sentence() {
        let rule = SplitRule {
            max: 1,
            min: 0,
            merge: 0,
            commas: false,
        };
        let got = split("他说：“好。”走了。", Language::Chinese, rule, |_| {
            Ok(0)
        })
        .unwrap();
        assert_eq!(got, ["他说：", "“好。”", "走了。"]);
        assert!(split(".\"", Language::English, rule, words).unwrap().is_empty());
    }

    #[test]
    fn a_short_tail_joins_the_segment_before() {
        let text = format!("{}。{}。好。", "长".repeat(65), "短".repeat(30));
        assert_eq!(zh(&text).len(), 2);
        assert_eq!(zh(&format!("{}。好。", "长".repeat(80))).len(), 1);
    }

    #[test]
    fn a_sentence_without_marks_is_cut_when_far_too_long() {
        let text = "word ".repeat(1000);
        let got = cut_long(vec![text.clone()], words).unwrap();
        assert!(got.iter().all(|s| words(s).unwrap() <= LONGEST && s.len() > 100));
        assert_eq!(got.concat(), text);
        let text = "字".repeat(1000);
        let got = cut_long(vec![text.clone()], |s| Ok(s.chars().count())).unwrap();
        assert!(got.iter().all(|s| s.chars().count() <= LONGEST));
        assert_eq!(got.concat(), text);
    }

    #[test]
    fn knows_what_can_be_spoken() {
        for text in ["a", "①", "你", "<|zh|>好", "好<|zh|>", "<|a", "½"] {
            assert!(is_speakable(text), "{text}");
        }
        for text in [
            "",
            " ",
            "。！",
            "<|zh|>",
            "<|zh|> ！<|en|>",
            "😀",
            "\u{200d}",
            "\u{0}",
        ] {
            assert!(!is_speakable(text), "{text}");
        }
    }
}
