use std::path::Path;

use super::*;
use crate::text::tokenizer::TextTokenizer;

fn frontend() -> TextFrontend {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/bundled/tokenizer.json");
    TextFrontend::new(TextTokenizer::from_file(&path).unwrap())
}

/// The stretches that go on, and those that go at the end.
fn stretches(text: &str) -> (Vec<String>, Vec<String>) {
    let mut held = text.to_owned();
    let mut take = |all| {
        let mut taken = Vec::new();
        while let Some((end, _)) = first_stretch(&held, all) {
            taken.push(held.drain(..end).collect::<String>());
        }
        taken
    };
    (take(false), take(true))
}

/// All events of a text that comes in pieces of so many characters.
fn events(frontend: &TextFrontend, text: &str, piece: usize, whole: bool) -> Vec<Event> {
    let mut splitter = LiveSplitter::new(frontend, whole);
    let chars: Vec<char> = text.chars().collect();
    let mut events = Vec::new();
    for piece in chars.chunks(piece) {
        events.extend(splitter.push(&piece.iter().collect::<String>()).unwrap());
    }
    events.extend(splitter.close().unwrap());
    events
}

/// The ids of each segment.
fn segments(events: Vec<Event>) -> Vec<Vec<i64>> {
    let mut segments = vec![Vec::new()];
    for event in events {
        match event {
            Event::Text(ids) => segments.last_mut().unwrap().extend(ids),
            Event::End => segments.push(Vec::new()),
            Event::Whole(whole) => {
                segments.pop();
                segments.extend(whole);
                segments.push(Vec::new());
            }
        }
    }
    assert!(segments.pop().unwrap().is_empty(), "the last one was not ended");
    segments
}

fn spoken(text: &str) -> Vec<String> {
    let frontend = frontend();
    let segments = segments(events(&frontend, text, 3, false));
    segments
        .iter()
        .map(|ids| frontend.tokenizer().decode(ids).unwrap())
        .collect()
}

#[test]
fn a_word_goes_on_when_it_is_complete() {
    assert_eq!(stretches("hel"), (vec![], vec!["hel".into()]));
    assert_eq!(
        stretches("hello wor").0,
        ["hello"],
        "the space belongs to the next word"
    );
    assert_eq!(stretches("don't \"go\"").0, ["don", "'t", " \"go"]);
    assert_eq!(stretches("Well. He").0, ["Well", "."]);
    assert_eq!(stretches("今天天气很好我们去").0, ["今天天气很好"]);
    assert_eq!(stretches("好，用Python写").0, ["好", "，用Python写"][..1]);
    assert_eq!(stretches("[laughter] so").0, ["[laughter]", " so"][..0]);
}

#[test]
fn digits_wait_for_what_they_may_belong_to() {
    assert_eq!(stretches("on 3 May 2024 we all").0, ["on", " 3 May 2024 we"][..1]);
    assert_eq!(
        stretches("on 3 May 2024 we all met").0,
        ["on", " 3 May 2024 we all"]
    );
    assert_eq!(stretches("3.14 is").0, Vec::<String>::new());
    assert_eq!(stretches("I have 3. ").0, ["I", " have", " 3."]);
    assert_eq!(stretches("有3个苹果").0, ["有3个苹果"][..0]);
    assert_eq!(stretches("有3个苹果和梨").0, Vec::<String>::new());
    assert_eq!(stretches("有3个苹果和梨子树").0, ["有3个苹果和梨子"]);
    let endless = "7 ".repeat(100);
    assert!(stretches(&endless).0[0].len() <= MOST_DIGITS + 1);
    assert_eq!(stretches(&"a".repeat(450)).0.len(), 2);
}

/// Guarantees that ids are those of words: what comes in pieces has the ids of what comes at once.
#[test]
fn ids_do_not_depend_on_the_pieces() {
    let frontend = frontend();
    for text in [
        "Hello there, I don't know him. It costs $3.50 in all; that is 20% more than on May 3, 2024!",
        "今天天气很好，我们一起出去走走吧。他在2024年5月3日买了3个苹果，你呢？使用 Visual Studio 编辑。",
        "Once upon a time, a small boat left the harbour before the sun was up, and nobody on the shore knew where \
         it was going. The old sailor said nothing, but he smiled. When the wind came at last, they sailed for \
         three long days, and on the fourth morning a bird sat on the mast and sang. That was how they knew.",
    ] {
        for whole in [false, true] {
            let at_once = segments(events(&frontend, text, 10_000, whole));
            for piece in [1, 2, 5] {
                assert_eq!(
                    segments(events(&frontend, text, piece, whole)),
                    at_once,
                    "{piece}: {text}"
                );
            }
        }
    }
}

#[test]
fn words_have_the_ids_of_the_whole_text() {
    let frontend = frontend();
    let text = "Hello there, I do not know him; but she's well-known.";
    let got = segments(events(&frontend, text, 1, false));
    assert_eq!(got, [frontend.tokens(text).unwrap()]);
}

#[test]
fn numbers_are_read_in_the_language_of_the_text() {
    assert_eq!(
        spoken("I have 3 cats and 10 dogs."),
        ["I have three cats and ten dogs ."]
    );
    assert_eq!(spoken("我有3只猫。"), ["我有三只猫。"]);
    assert_eq!(spoken("It is 10:30"), ["It is ten thirty."]);
}

#[test]
fn segments_end_with_sentences_and_never_grow_too_long() {
    let frontend = frontend();
    let sentence = "The old sailor said nothing at all, but he smiled at the children on the shore. ";
    let text = sentence.repeat(20);
    let got = segments(events(&frontend, &text, 4, false));
    assert!(got.len() > 3);
    for ids in &got {
        let text = frontend.tokenizer().decode(ids).unwrap();
        assert!(
            text.starts_with("The old sailor") && text.trim_end().ends_with("shore."),
            "{text}"
        );
        assert!(ids.len() <= LONGEST, "{}", ids.len());
    }
    assert!(got[0].len() > SplitRule::default().min);
    for endless in ["word ".repeat(1000), "字".repeat(1000), "7".repeat(1000)] {
        let got = segments(events(&frontend, &endless, 4, false));
        assert!(got.len() > 1 && got.iter().all(|ids| (1..=LONGEST + 1).contains(&ids.len())));
    }
}

#[test]
fn sentences_are_whole_where_they_must_be() {
    let frontend = frontend();
    let text = "First. \"Second one!\" And then the third, without an end";
    let got: Vec<Event> = events(&frontend, text, 2, true);
    assert_eq!(got.len(), 3);
    let text = |ids: &Vec<i64>| frontend.tokenizer().decode(ids).unwrap();
    let got: Vec<String> = segments(got).iter().map(text).collect();
    assert_eq!(got[0], "First.");
    assert!(
        got[1].starts_with("\"Second one!") && got[2].ends_with("end."),
        "{got:?}"
    );
}

#[test]
fn marks_alone_are_nothing() {
    let frontend = frontend();
    for text in ["", "。", " ... ", "…\n\n", "“”", "😀"] {
        for whole in [false, true] {
            assert_eq!(events(&frontend, text, 1, whole), [], "{text}");
        }
    }
}

#[test]
fn closing_makes_an_end() {
    let frontend = frontend();
    let mut splitter = LiveSplitter::new(&frontend, false);
    splitter.push("Let me see").unwrap();
    let mut got = splitter.close().unwrap();
    assert_eq!(got.pop(), Some(Event::End));
    assert_eq!(got.pop(), Some(Event::Text(frontend.tokens(".").unwrap())));
    assert_eq!(splitter.close().unwrap(), []);
    got = splitter.push(", yes it is").unwrap();
    assert_eq!(
        got[0],
        Event::Text(frontend.tokens("yes").unwrap()),
        "no comma to begin with"
    );
}
