//! The deadline of a call, which its client sends as `grpc-timeout`.

use std::time::Duration;

use axum::http::HeaderMap;
use tokio::time::Instant;
use tonic::Status;

/// The header.
const GRPC_TIMEOUT: &str = "grpc-timeout";
/// Digits that its number may have.
const DIGITS: usize = 8;

/// When a call that came now must be done; `None` where the client waits for ever.
///
/// # Errors
/// INVALID_ARGUMENT when the header is none of gRPC's: at most 8 digits, and a unit.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<Instant>, Status> {
    let Some(value) = headers.get(GRPC_TIMEOUT) else {
        return Ok(None);
    };
    let time = value.to_str().ok().and_then(parse);
    let wrong =
        || Status::invalid_argument("grpc-timeout: must be 1 to 8 digits and one of H, M, S, m, u, n");
    time.map(|time| Some(Instant::now() + time)).ok_or_else(wrong)
}

fn parse(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=DIGITS).contains(&number.len()) || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Waits for it; for ever where there is none.
pub(super) async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (text, nanos) in [
            ("2H", 7_200_000_000_000),
            ("3M", 180_000_000_000),
            ("4S", 4_000_000_000),
            ("5m", 5_000_000),
            ("6u", 6_000),
            ("99999999n", 99_999_999),
        ] {
            assert_eq!(parse(text).map(|time| time.as_nanos()), Some(nanos), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "S",
            "5",
            "5s",
            "-5S",
            "+5S",
            "123456789S",
            "1.5S",
            "5 S",
            "5é",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        let mut headers = HeaderMap::new();
        assert!(matches!(of(&headers), Ok(None)));
        headers.insert(GRPC_TIMEOUT, "soon".parse().unwrap());
        let refused = of(&headers).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert!(refused.message().starts_with("grpc-timeout: "));
    }
}
