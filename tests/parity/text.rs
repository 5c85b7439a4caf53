//! The text front end against what the reference implementation made of 44 sentences (`goldens/common/text.json`).
//!
//! `COSYSERVE_TOKENIZER=path/to/tokenizer.json` runs it with a bundle's own tokenizer instead of the reduced one.

use std::path::{Path, PathBuf};

use cosyserve::text::live::{Event, LiveSplitter};
use cosyserve::text::normalize::{self, cleanup, numbers};
use cosyserve::text::split::{SplitRule, split};
use cosyserve::text::{Language, TextFrontend, TextTokenizer};
use serde_json::Value;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)
}

fn goldens() -> Value {
    serde_json::from_slice(&std::fs::read(here("goldens/common/text.json")).unwrap()).unwrap()
}

fn tokenizer() -> TextTokenizer {
    let path = std::env::var_os("COSYSERVE_TOKENIZER").map(PathBuf::from);
    TextTokenizer::from_file(&path.unwrap_or_else(|| here("fixtures/tokenizer_subset.json"))).unwrap()
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|s| s.as_str().unwrap().to_owned())
        .collect()
}

/// Counts agreement over the sentences, printing each difference.
fn agreement<T: PartialEq + std::fmt::Debug>(
    what: &str,
    goldens: &Value,
    wanted: impl Fn(usize) -> T,
    got: impl Fn(&str) -> T,
) -> usize {
    let sentences = strings(&goldens["sentences"]);
    let mut same = 0;
    for (i, sentence) in sentences.iter().enumerate() {
        let (wanted, got) = (wanted(i), got(sentence));
        if got == wanted {
            same += 1;
        } else {
            println!("{what} {i}: {sentence:?}\n  reference {wanted:?}\n  here      {got:?}");
        }
    }
    println!("{what}: {same} of {} agree", sentences.len());
    assert_eq!(sentences.len(), 44);
    same
}

#[test]
fn tokenizer_ids_are_those_of_the_reference() {
    ids_are_the_references("qwen_v2", &tokenizer());
}

/// On the exported tiny CosyVoice 1 checkpoint; `make test` exports it first.
#[test]
fn tokenizer_ids_of_generation_1_are_those_of_the_reference() {
    let path = here("../target/test-bundles/tiny-cosyvoice1/tokenizer.json");
    ids_are_the_references("whisper_300m", &TextTokenizer::from_file(&path).unwrap());
}

fn ids_are_the_references(of: &str, tokenizer: &TextTokenizer) {
    let goldens = goldens();
    let wanted = |i: usize| -> Vec<i64> {
        goldens["tokens"][of][i]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_i64().unwrap())
            .collect()
    };
    assert_eq!(
        agreement("tokens", &goldens, wanted, |s| tokenizer.encode(s).unwrap()),
        44
    );
    for (token, id) in goldens["specials"][of].as_object().unwrap() {
        assert_eq!(tokenizer.special(token), id.as_i64(), "{token}");
        let ids = tokenizer.encode(&format!("好{token}a")).unwrap();
        assert_eq!(ids.iter().nth_back(1), id.as_i64().as_ref(), "{token}");
    }
    for (i, sentence) in strings(&goldens["sentences"]).iter().enumerate() {
        assert_eq!(&tokenizer.decode(&wanted(i)).unwrap(), sentence);
    }
}

#[test]
fn the_grammars_read_as_wetext_does() {
    let goldens = goldens();
    let wanted = |i: usize| goldens["wetext_raw"][i].as_str().unwrap().to_owned();
    assert_eq!(
        agreement("grammar", &goldens, wanted, |s| normalize::read_numbers(
            s,
            Language::of(s)
        )),
        44
    );
}

/// The one difference: circled digits, which the reference reads "zero" as one number, are read each by its value.
#[test]
fn normalisation_is_that_of_the_reference() {
    let (goldens, frontend) = (goldens(), TextFrontend::new(tokenizer()));
    let wanted = |i: usize| {
        goldens["normalized"]["wetext/qwen_v2"][i]["nosplit"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        agreement("normalisation", &goldens, wanted, |s| frontend.normalize(s)),
        43
    );
}

/// Differences: circled digits (above), and punctuation alone, for which the reference has no segments and here the
/// text is refused.
#[test]
fn segments_are_those_of_the_reference() {
    let (goldens, frontend) = (goldens(), TextFrontend::new(tokenizer()));
    let wanted = |i: usize| strings(&goldens["normalized"]["wetext/qwen_v2"][i]["split"]);
    let same = agreement("segments", &goldens, wanted, |s| {
        frontend.segments(s).unwrap_or_default()
    });
    assert_eq!(same, 43);
    assert!(frontend.segments("。。。！！！").is_err());
}

/// The clean-ups by themselves, as the reference does them where WeText is missing.
#[test]
fn cleanups_alone_are_those_of_the_reference() {
    let goldens = goldens();
    let wanted = |i: usize| {
        goldens["normalized"]["none/qwen_v2"][i]["nosplit"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let same = agreement("clean-ups", &goldens, wanted, |s| {
        if s.contains("<|") {
            return s.to_owned();
        }
        match Language::of(s) {
            Language::Chinese => cleanup::chinese(s),
            Language::English => numbers::spell_out(s),
        }
    });
    assert_eq!(same, 43);
}

#[test]
fn splitting_follows_every_rule_of_the_reference() {
    let (goldens, tokenizer) = (goldens(), tokenizer());
    let sentences = strings(&goldens["sentences"]);
    let cases = goldens["split_paragraph_qwen_v2"].as_object().unwrap();
    for (case, wanted) in cases {
        let fields: Vec<&str> = case.split('|').collect();
        let number = |i: usize| fields[i].parse::<usize>().unwrap();
        let language = if fields[0] == "zh" {
            Language::Chinese
        } else {
            Language::English
        };
        let rule = SplitRule {
            max: number(2),
            min: number(3),
            merge: number(4),
            commas: fields[5] == "True",
        };
        let got = split(&sentences[number(1)], language, rule, |s| tokenizer.count(s)).unwrap();
        assert_eq!(got, strings(wanted), "{case}");
    }
    println!("splitter: {} of {} agree", cases.len(), cases.len());
}

#[test]
fn numbers_read_as_inflect_reads_them() {
    let goldens = goldens();
    let mut same = 0;
    let cases = goldens["number_to_words"].as_object().unwrap();
    for (number, words) in cases {
        let got = numbers::spell_out(number);
        if got == words.as_str().unwrap() {
            same += 1;
        } else {
            // The reference reads a lone superscript "zero".
            assert_eq!((number.as_str(), got.as_str()), ("²", "two"));
        }
    }
    println!("numbers: {same} of {} agree", cases.len());
}

/// The ids of a text that comes a character at a time.
fn live(frontend: &TextFrontend, text: &str) -> Vec<i64> {
    let mut splitter = LiveSplitter::new(frontend, false);
    let mut events: Vec<Event> = text
        .chars()
        .flat_map(|c| splitter.push(&c.to_string()).unwrap())
        .collect();
    events.extend(splitter.close().unwrap());
    let ids = events.into_iter().filter_map(|event| match event {
        Event::Text(ids) => Some(ids),
        _ => None,
    });
    ids.flatten().collect()
}

/// Guarantees that phoneme and pinyin tags reach generation 3's model as the tokens they are, whatever is read around
/// them.
#[test]
fn tags_are_tokens_of_their_own() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-bundles/tiny-cosyvoice3/tokenizer.json");
    let frontend = TextFrontend::new(TextTokenizer::from_file(&path).unwrap());
    let cases = [
        (
            "Say [HH][AH0][L][OW1] 3 times.",
            &["[HH]", "[AH0]", "[L]", "[OW1]"][..],
        ),
        ("高管对3篇报道[j][ǐ]予好评。", &["[j]", "[ǐ]"]),
        ("[breath]嗯，都很熟悉。", &["[breath]"]),
    ];
    for (text, tags) in cases {
        let segments = frontend.segments(text).unwrap();
        assert!(!segments.concat().contains('3'), "{segments:?}");
        let ids: Vec<i64> = segments
            .iter()
            .flat_map(|s| frontend.tokens(s).unwrap())
            .collect();
        let wanted = tags.iter().map(|tag| frontend.tokenizer().special(tag).unwrap());
        let wanted: Vec<i64> = wanted.collect();
        let found = |ids: Vec<i64>| -> Vec<i64> { ids.into_iter().filter(|&id| id > 151_646).collect() };
        assert_eq!(found(ids), wanted, "{text}: {segments:?}");
        assert_eq!(found(live(&frontend, text)), wanted, "{text}");
    }
}
