//! What the requests say.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::{Error, Result, limits};

const SHORT: &str = "你好，很高兴认识你。";
const MEDIUM: &str = "收到好友从远方寄来的生日礼物，那份意外的惊喜让我心中充满了甜蜜的快乐。";
const LONG: &str = "从前有一个小镇，镇上住着一位老木匠。他每天清晨都会打开店门，点亮一盏小灯。\
    孩子们喜欢来听他讲故事，他一边干活，一边慢慢地说。有一天，一位远方的客人来到镇上，带来了一个奇怪的木盒。\
    老木匠看了很久，终于笑着点了点头。他说这个盒子是他年轻的时候亲手做的，里面藏着一封从来没有寄出去的信。\
    客人听了以后，轻轻地打开盒子，把那封信交到了他的手里。";

#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
pub struct ScriptArgs {
    /// What each request says
    #[arg(
        long,
        env = "COSYSERVE_BENCH_TEXT",
        value_name = "TEXT",
        conflicts_with = "text_file"
    )]
    text: Option<String>,
    /// A file whose lines the requests say in turn
    #[arg(long, env = "COSYSERVE_BENCH_TEXT_FILE", value_name = "FILE")]
    text_file: Option<PathBuf>,
    /// Ready-made text: about 2, 6 or 35 seconds of speech
    #[arg(long, env = "COSYSERVE_BENCH_LENGTH", value_enum, default_value = "medium", conflicts_with_all = ["text", "text_file"])]
    length: Length,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Length {
    Short,
    Medium,
    Long,
}

impl ScriptArgs {
    /// The texts; at least one.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the file cannot be read or holds no text.
    pub fn texts(&self) -> Result<Vec<String>> {
        if let Some(path) = &self.text_file {
            return lines(path);
        }
        let ready = match self.length {
            Length::Short => SHORT,
            Length::Medium => MEDIUM,
            Length::Long => LONG,
        };
        Ok(vec![self.text.clone().unwrap_or_else(|| ready.to_owned())])
    }
}

fn lines(path: &Path) -> Result<Vec<String>> {
    let wrong =
        |text: &dyn std::fmt::Display| Error::Invalid(format!("--text-file {}: {text}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| wrong(&error))?.len();
    if size > limits::BENCH_TEXT_BYTES {
        return Err(wrong(&format_args!("over {} bytes", limits::BENCH_TEXT_BYTES)));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let texts: Vec<String> = lines.map(str::to_owned).collect();
    match texts.is_empty() {
        true => Err(wrong(&"holds no text")),
        false => Ok(texts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_file_are_texts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, "one\n\n  two \n").unwrap();
        assert_eq!(lines(&path).unwrap(), ["one", "two"]);
        std::fs::write(&path, "\n \n").unwrap();
        assert!(lines(&path).unwrap_err().to_string().contains("holds no text"));
        assert!(lines(&dir.path().join("b.txt")).is_err());
    }
}
