//! Scalars as clients really send them: numbers and flags may come as JSON strings, as every form field does, and
//! `null` and an empty form field mean "not given". This is what the FastAPI services accept.

use std::fmt;

use serde::{
    Deserializer,
    de::{Error, Visitor},
};

/// Largest whole number accepted, 2^63 - 1 (signed 64-bit, what most clients can hold).
pub const WHOLE_MAX: u64 = i64::MAX as u64;

/// A whole number from 0 to [`WHOLE_MAX`]; `None` for null.
pub fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    deserializer.deserialize_any(Whole)
}

/// A finite number; `None` for null.
pub fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    deserializer.deserialize_any(Number)
}

/// A flag: true/false, 1/0, yes/no, on/off in any case; `None` for null.
pub fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    deserializer.deserialize_any(Flag)
}

/// The methods every visitor here shares: absent values.
macro_rules! absent {
    () => {
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    };
}

struct Whole;

impl Whole {
    fn check<E: Error>(value: u64) -> Result<Option<u64>, E> {
        if value > WHOLE_MAX {
            return Err(E::custom(format!(
                "must be a whole number from 0 to {WHOLE_MAX}, not {value}"
            )));
        }
        Ok(Some(value))
    }
}

impl Visitor<'_> for Whole {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a whole number from 0 to {WHOLE_MAX}")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Self::check(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        match u64::try_from(value) {
            Ok(value) => Self::check(value),
            Err(_) => Err(E::custom(format!(
                "must be a whole number from 0 to {WHOLE_MAX}, not {value}"
            ))),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        // 2^53: beyond it a float no longer says which whole number was meant.
        if value.fract() != 0.0 || !(0.0..=9_007_199_254_740_992.0).contains(&value) {
            return Err(E::custom(format!(
                "must be a whole number from 0 to {WHOLE_MAX}, not {value}"
            )));
        }
        Self::check(value as u64)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        if value.trim().is_empty() {
            return Ok(None);
        }
        match value.trim().parse::<u64>() {
            Ok(value) => Self::check(value),
            Err(_) => Err(E::custom(format!(
                "must be a whole number from 0 to {WHOLE_MAX}, not {}",
                quoted(value)
            ))),
        }
    }

    absent!();
}

struct Number;

impl Visitor<'_> for Number {
    type Value = Option<f64>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value as f64))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value as f64))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        if value.trim().is_empty() {
            return Ok(None);
        }
        match value.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Some(number)),
            _ => Err(E::custom(format!("must be a number, not {}", quoted(value)))),
        }
    }

    absent!();
}

struct Flag;

impl Visitor<'_> for Flag {
    type Value = Option<bool>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("true or false")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        match value {
            0 => Ok(Some(false)),
            1 => Ok(Some(true)),
            _ => Err(E::custom(format!("must be true or false, not {value}"))),
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        if value.trim().is_empty() {
            return Ok(None);
        }
        match value.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" | "y" | "t" => Ok(Some(true)),
            "false" | "0" | "no" | "off" | "n" | "f" => Ok(Some(false)),
            _ => Err(E::custom(format!("must be true or false, not {}", quoted(value)))),
        }
    }

    absent!();
}

/// The start of a client's text in quotes, for an error message.
pub fn quoted(text: &str) -> String {
    let mut start: String = text.chars().take(32).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    format!("{start:?}")
}
