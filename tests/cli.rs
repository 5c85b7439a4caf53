//! The command line as a user meets it.
//!
//! `COSYSERVE_TEST_MODEL` names another bundle than `onnx/bundled`, `COSYSERVE_TEST_BINARY` another binary than the
//! one just built (a release build, an installed one).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops where something is wrong"
)]

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use cosyserve::audio::decode::decode;

use self::torch_writer::Value;

#[path = "support/torch_writer.rs"]
mod torch_writer;

fn bundle() -> PathBuf {
    let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/bundled");
    std::env::var_os("COSYSERVE_TEST_MODEL").map_or(bundled, PathBuf::from)
}

fn binary() -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_cosyserve"));
    std::env::var_os("COSYSERVE_TEST_BINARY").map_or_else(built, PathBuf::from)
}

fn command(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COSYSERVE_")) {
        command.env_remove(name);
    }
    command
        .args(args)
        .env("COSYSERVE_MODEL", bundle())
        .env("COSYSERVE_DATA_DIR", data)
        .stdin(Stdio::null());
    command
}

#[track_caller]
fn run(data: &Path, args: &[&str]) -> Output {
    let output = command(data, args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    assert!(!said.contains('\u{1b}'), "colours where nobody sees them: {said}");
    output
}

#[track_caller]
fn fails(data: &Path, args: &[&str], code: i32, says: &str) {
    let output = command(data, args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert!(said.contains(says), "{args:?}: {said}");
    assert!(
        code != 1 || said.trim_end().lines().count() == 1,
        "more than a line: {said}"
    );
}

#[test]
fn say_writes_every_format() {
    let data = tempfile::tempdir().unwrap();
    let path = |name: &str| data.path().join(name).to_str().unwrap().to_owned();
    let mut samples = Vec::new();
    for name in ["a.wav", "b.wav", "c.mp3", "d.flac", "e.opus"] {
        run(
            data.path(),
            &["say", "你好，很高兴认识你。", "-o", &path(name), "--seed", "3"],
        );
        let audio = decode(std::fs::read(path(name)).unwrap(), name).unwrap();
        assert!(
            (0.4..20.0).contains(&audio.seconds()),
            "{name}: {} s",
            audio.seconds()
        );
        samples.push(audio.samples);
    }
    assert!(samples[0] == samples[1], "the same seed said something else");
    assert_eq!(samples[0].len(), samples[2].len());
    assert!(samples[0] == samples[3], "FLAC is lossless");
    // Opus decodes to 48 kHz whatever went in.
    assert_eq!(2 * samples[0].len(), samples[4].len());
}

#[test]
fn say_reads_and_writes_pipes() {
    let data = tempfile::tempdir().unwrap();
    let args = [
        "say", "-", "-o", "-", "--format", "pcm", "--stream", "--seed", "3",
    ];
    let mut command = command(data.path(), &args);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all("你好，很高兴认识你。".as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.stdout.len() > 20_000 && output.stdout.len().is_multiple_of(2));
}

#[test]
fn voices_are_imported_and_renamed() {
    let data = tempfile::tempdir().unwrap();
    let path = |name: &str| data.path().join(name).to_str().unwrap().to_owned();
    let text = |output: Vec<u8>| String::from_utf8(output).unwrap();
    let preset = |width: usize| Value::dict([("embedding", Value::floats(&[1, width], &vec![0.05; width]))]);
    let voices = torch_writer::file(&Value::dict([("甲", preset(192)), ("foreign", preset(7))]));
    std::fs::write(path("spk2info.pt"), voices).unwrap();
    let imported = run(data.path(), &["voices", "import", &path("spk2info.pt")]);
    assert_eq!(text(imported.stdout), "甲\t甲\tsaved\n");
    let said = text(imported.stderr);
    assert!(
        said.starts_with("skipped foreign: its embedding has 7 numbers, not 192"),
        "{said}"
    );
    let renamed = run(data.path(), &["voices", "rename", "甲", "Jia"]);
    assert_eq!(text(renamed.stdout), "甲\tJia\tsaved\n");
    let list = text(run(data.path(), &["voices", "list"]).stdout);
    assert!(list.lines().any(|line| line == "甲\tJia\tsaved"), "{list}");
    run(
        data.path(),
        &["say", "你好。", "-o", &path("a.wav"), "--voice", "甲"],
    );

    fails(data.path(), &["voices", "rename", "nobody", "x"], 1, "nobody");
    fails(
        data.path(),
        &["voices", "rename", "甲", " "],
        1,
        "NAME: must not be empty",
    );
    fails(data.path(), &["voices", "rename", "英文女", "x"], 1, "built-in");
    fails(
        data.path(),
        &["voices", "import", "/nowhere.pt"],
        1,
        "/nowhere.pt: ",
    );
    std::fs::write(path("old.pt"), b"\x80\x02}.").unwrap();
    fails(
        data.path(),
        &["voices", "import", &path("old.pt")],
        1,
        "before PyTorch 1.6",
    );
    let foreign = torch_writer::file(&Value::dict([("foreign", preset(7))]));
    std::fs::write(path("foreign.pt"), foreign).unwrap();
    fails(
        data.path(),
        &["voices", "import", &path("foreign.pt")],
        1,
        "belongs to another model",
    );
}

/// Guarantees that audio comes out while text still goes in, that the same text gives the same audio, and that a file
/// is written as well as a pipe.
#[test]
fn say_speaks_what_still_comes() {
    let data = tempfile::tempdir().unwrap();
    let mut said = Vec::new();
    for pieces in [
        &[
            "The quick brown fox jumps over the lazy dog and the small ",
            "bird si",
            "ngs.",
        ][..],
        &["The quick \
        brown fox jumps over the lazy dog and the small bird sings."],
    ] {
        let args = ["say", "--live", "-o", "-", "--format", "pcm", "--seed", "3"];
        let mut child = command(data.path(), &args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (first, rest) = pieces.split_first().unwrap();
        input.write_all(first.as_bytes()).unwrap();
        let mut audio = vec![0; 1_000];
        if !rest.is_empty() {
            output.read_exact(&mut audio).unwrap();
        }
        rest.iter()
            .for_each(|piece| input.write_all(piece.as_bytes()).unwrap());
        drop(input);
        audio.truncate(if rest.is_empty() { 0 } else { audio.len() });
        output.read_to_end(&mut audio).unwrap();
        let ended = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && errors.contains("seed 3"), "{errors}");
        said.push(audio);
    }
    assert!(said[0].len() > 48_000 && said[0] == said[1]);
    let path = data.path().join("a.wav").to_str().unwrap().to_owned();
    let args = ["say", "--live", "-o", &path];
    let mut child = command(data.path(), &args).stdin(Stdio::piped()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all("你好，很高兴认识你。".as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
    let file = std::fs::read(&path).unwrap();
    let named = u32::from_le_bytes(file[40..44].try_into().unwrap());
    assert_eq!(named as usize, file.len() - 44, "the header knows the length");
    assert!(decode(file, "a").unwrap().seconds() > 0.4);
    fails(data.path(), &["say", "hi", "--live", "-o", "a.wav"], 2, "--live");
    fails(
        data.path(),
        &["say", "--live", "-o", &path],
        1,
        "nothing to speak",
    );
}

#[test]
fn voices_are_added_used_and_removed() {
    let data = tempfile::tempdir().unwrap();
    let wav = data.path().join("a.wav").to_str().unwrap().to_owned();
    let out = data.path().join("b.wav").to_str().unwrap().to_owned();
    run(
        data.path(),
        &[
            "say",
            "今天天气很好，我们一起出去走走吧。",
            "-o",
            &wav,
            "--seed",
            "3",
        ],
    );
    run(
        data.path(),
        &[
            "voices",
            "add",
            "anna",
            "--audio",
            &wav,
            "--text",
            "今天天气很好。",
            "--name",
            "Anna",
        ],
    );
    let list = String::from_utf8(run(data.path(), &["voices", "list"]).stdout).unwrap();
    assert!(list.lines().any(|line| line == "anna\tAnna\tsaved"), "{list}");
    assert!(list.lines().next().unwrap().ends_with("\tbuilt-in"), "{list}");
    run(data.path(), &["say", "你好。", "-o", &out, "--voice", "anna"]);
    run(
        data.path(),
        &[
            "say",
            "你好。",
            "-o",
            &out,
            "--prompt",
            &wav,
            "--prompt-text",
            "今天天气很好。",
        ],
    );
    run(data.path(), &["say", "你好。", "-o", &out, "--prompt", &wav]);
    run(data.path(), &["voices", "remove", "anna"]);
    fails(data.path(), &["voices", "remove", "anna"], 1, "anna");
    fails(
        data.path(),
        &["say", "你好。", "-o", &out, "--voice", "anna"],
        1,
        "anna",
    );
}

#[test]
fn convert_says_it_in_another_voice() {
    let data = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/common/zero_shot_prompt.wav");
    let source = source.to_str().unwrap();
    let path = |name: &str| data.path().join(name).to_str().unwrap().to_owned();
    let seconds = |file: &str| decode(std::fs::read(file).unwrap(), "f").unwrap().seconds();
    run(
        data.path(),
        &["convert", source, "-o", &path("a.wav"), "--voice", "英文男"],
    );
    run(
        data.path(),
        &[
            "convert",
            source,
            "-o",
            &path("b.wav"),
            "--prompt",
            &path("a.wav"),
            "--stream",
        ],
    );
    for file in ["a.wav", "b.wav"] {
        let ratio = seconds(&path(file)) / seconds(source);
        assert!((0.95..1.05).contains(&ratio), "{file}: {ratio}");
    }
    fails(
        data.path(),
        &["convert", "/nowhere.wav", "-o", "a.wav"],
        1,
        "source /nowhere.wav",
    );
    fails(
        data.path(),
        &["convert", source, "-o", "a.wav", "--voice", "nobody"],
        1,
        "nobody",
    );
}

#[test]
fn bench_reports_json() {
    let data = tempfile::tempdir().unwrap();
    let args = [
        "bench",
        "--requests",
        "2",
        "--streams",
        "2",
        "--text",
        "你好。",
        "--json",
    ];
    let report: serde_json::Value = serde_json::from_slice(&run(data.path(), &args).stdout).unwrap();
    assert_eq!(report["requests"], 2);
    for field in ["load_s", "wall_s", "audio_s", "audio_s_per_s", "resident_mib"] {
        assert!(report[field].as_f64().unwrap() > 0.0, "{field}: {report}");
    }
    assert!(
        report["first_audio_ms"]["p50"].as_f64().unwrap() > 0.0,
        "{report}"
    );
    assert!(report["rtf"]["p99"].as_f64().unwrap() > 0.0, "{report}");
    assert!(report["underruns"]["stalls"].is_u64(), "{report}");
    assert_eq!((&report["failed"], &report["streams"]), (&0.into(), &2.into()));
}

#[test]
fn bench_without_a_server_says_so() {
    let data = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", taken.local_addr().unwrap());
    drop(taken);
    fails(data.path(), &["bench", "--url", &url], 1, &url);
    fails(data.path(), &["bench", "--url", "ftp://a"], 1, "--url ftp://a");
}

#[test]
fn wrong_usage_is_2_and_failure_is_1_with_one_line() {
    let data = tempfile::tempdir().unwrap();
    fails(data.path(), &[], 2, "Usage");
    fails(data.path(), &["sing"], 2, "sing");
    fails(
        data.path(),
        &["say", "hi", "-o", "a.wav", "--speed", "9"],
        2,
        "between 0.5 and 2",
    );
    fails(data.path(), &["serve", "--port", "99999"], 2, "99999");
    fails(
        data.path(),
        &["say", "hi", "-o", "a.wav", "--model", "/nowhere"],
        1,
        "/nowhere is not a model bundle",
    );
    fails(
        data.path(),
        &["say", " ", "-o", "a.wav"],
        1,
        "text: must not be empty",
    );
    fails(
        data.path(),
        &["say", "hi", "-o", "a.wav", "--prompt", "/nowhere.wav"],
        1,
        "/nowhere.wav",
    );
    fails(
        data.path(),
        &["serve", "--host", "256.0.0.1"],
        1,
        "cannot listen on 256.0.0.1:5000",
    );
    fails(
        data.path(),
        &["voices", "list", "--log-level", "a=b=c"],
        1,
        "a=b=c",
    );
}

#[test]
fn a_taken_port_is_told_before_the_model_is_loaded() {
    let data = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    fails(
        data.path(),
        &["serve", "--host", "127.0.0.1", "--port", &port],
        1,
        "cannot listen on 127.0.0.1",
    );
}

#[test]
fn a_taken_grpc_port_names_its_option() {
    let data = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut args = vec![
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--grpc-port",
        &port,
    ];
    fails(
        data.path(),
        &args,
        1,
        &format!("cannot listen on 127.0.0.1:{port} (--grpc-port)"),
    );
    args.extend([
        "--grpc-tls-cert",
        "/nowhere.pem",
        "--grpc-tls-key",
        "/nowhere.key",
    ]);
    fails(
        data.path(),
        &args,
        1,
        "--grpc-tls-cert /nowhere.pem: No such file",
    );
}

#[test]
fn help_teaches() {
    let data = tempfile::tempdir().unwrap();
    for args in [
        &["--help"][..],
        &["serve", "--help"],
        &["say", "--help"],
        &["convert", "--help"],
        &["voices", "--help"],
        &["bench", "--help"],
    ] {
        let help = String::from_utf8(run(data.path(), args).stdout).unwrap();
        assert!(
            help.contains("Examples:") && help.contains("COSYSERVE_"),
            "{args:?}: {help}"
        );
    }
}
