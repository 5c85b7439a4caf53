//! `/playground`: a page to try the api with. Its files are built into the binary; it needs no other host.
//!
//! It is open even where there is an API key: it asks for the key and sends it with its requests.

use axum::{
    extract::Path,
    response::{IntoResponse, Redirect, Response},
};

use super::pages;

/// It plays what it made itself (blobs), records with a worklet of its own, and talks to this server alone.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; media-src blob:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Every file: its name, its type, its content.
macro_rules! files {
    ($($name:literal: $kind:ident),* $(,)?) => {
        [$(($name, $kind, include_str!(concat!("playground/", $name)))),*]
    };
}

const FILES: [(&str, &str, &str); 12] = files![
    "index.html": HTML,
    "style.css": STYLE,
    "app.js": SCRIPT,
    "api.js": SCRIPT,
    "capture.js": SCRIPT,
    "live.js": SCRIPT,
    "player.js": SCRIPT,
    "recording.js": SCRIPT,
    "result.js": SCRIPT,
    "text.js": SCRIPT,
    "wav.js": SCRIPT,
    "wave.js": SCRIPT,
];

/// The page.
pub async fn index() -> Response {
    file("index.html")
}

/// To the page: what it asks for is relative to its address without a slash.
pub async fn enter() -> Redirect {
    Redirect::permanent("../playground")
}

/// A part of the page.
pub async fn part(Path(name): Path<String>) -> Response {
    file(&name)
}

fn file(wanted: &str) -> Response {
    match FILES.iter().find(|(name, ..)| *name == wanted) {
        Some(&(_, kind, content)) => pages::file(kind, content.as_bytes(), POLICY),
        None => super::no_route(&format!("/playground/{wanted}")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_it_names_is_there() {
        let names: Vec<_> = FILES.iter().map(|(name, ..)| *name).collect();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/http/playground");
        let mut there: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort_unstable();
        let mut wanted = names.clone();
        wanted.sort_unstable();
        assert_eq!(there, wanted);
        for (name, _, content) in FILES {
            for part in content.split("from './").skip(1) {
                let file = part.split('\'').next().unwrap();
                assert!(names.contains(&file), "{name} imports {file}");
            }
            assert!(
                !content.contains("http://") && !content.contains("https://"),
                "{name}"
            );
        }
    }

    #[test]
    fn both_languages_say_everything() {
        let (_, _, text) = FILES.iter().find(|(name, ..)| *name == "text.js").unwrap();
        let keys = |language: &str| {
            let start = text.find(&format!("\n  {language}: {{")).unwrap();
            let block = &text[start..];
            let block = &block[..block.find("\n  },").unwrap()];
            let mut keys: Vec<_> = block
                .match_indices(": '")
                .map(|(at, _)| block[..at].rsplit([' ', '\n']).next().unwrap().to_string())
                .collect();
            keys.sort_unstable();
            keys
        };
        assert_eq!(keys("en"), keys("zh"));
        assert!(keys("en").len() > 60);
    }
}
