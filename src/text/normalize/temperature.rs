//! Temperatures below zero in Chinese text.
//!
//! A departure: the reference's grammar reads "-5度" as "负五度", which nobody says of the weather and listeners take for
//! other words; "零下五度" is what is said.

/// Signs that stand for minus.
const MINUS: [char; 4] = ['-', '−', '－', '﹣'];
/// Before the tenths.
const POINT: [char; 2] = ['.', '．'];
/// Between the two numbers of a range.
const RANGE: [char; 6] = ['~', '～', '至', '到', '-', '—'];
/// Units that are only temperatures.
const UNITS: [&str; 6] = ["℃", "°C", "℉", "°F", "摄氏度", "华氏度"];
/// With one of these in the text a bare "度" is one too, and not an angle or a longitude.
const WEATHER: [&str; 7] = ["温", "天气", "冷", "寒", "冻", "热", "零下"];
const BELOW_ZERO: &str = "零下";

/// `text` with the minus of its temperatures written as it is said: "-5℃" becomes "零下5℃".
pub fn below_zero(text: &str) -> String {
    let weather = WEATHER.iter().any(|word| text.contains(word));
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let rest = &text[at + c.len_utf8()..];
        let sign = MINUS.contains(&c) && !out.ends_with(joins) && !out.ends_with(BELOW_ZERO);
        if sign && is_temperature(rest, weather) {
            out.push_str(BELOW_ZERO);
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a hyphen after `c` joins, as in "3-5度" and "A-5".
fn joins(c: char) -> bool {
    c.is_ascii_alphanumeric() || is_digit(c) || POINT.contains(&c) || MINUS.contains(&c)
}

/// Whether `text` begins with a number and the unit of a temperature, or with such a range: "5℃", "10到-2℃".
fn is_temperature(text: &str, weather: bool) -> bool {
    let Some(rest) = after_number(text) else {
        return false;
    };
    is_unit(rest, weather)
        || rest.strip_prefix(RANGE).is_some_and(|second| {
            let second = second.strip_prefix(MINUS).unwrap_or(second);
            after_number(second).is_some_and(|rest| is_unit(rest, weather))
        })
}

/// What follows the number, such as "5" or "3.5", and white space at the start of `text`, if one is there.
fn after_number(text: &str) -> Option<&str> {
    let whole = after_digits(text)?;
    let rest = whole.strip_prefix(POINT).and_then(after_digits).unwrap_or(whole);
    Some(rest.trim_start())
}

/// What follows the digits at the start of `text`, if there are any.
fn after_digits(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(is_digit);
    (rest.len() < text.len()).then_some(rest)
}

/// Half-width or full-width, as Chinese input methods write them.
fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || ('０'..='９').contains(&c)
}

fn is_unit(rest: &str, weather: bool) -> bool {
    let bare = || {
        rest.strip_prefix('度')
            .is_some_and(|after| !after.starts_with('角'))
    };
    UNITS.iter().any(|unit| rest.starts_with(unit)) || weather && bare()
}

#[cfg(test)]
mod tests {
    use super::below_zero;

    #[test]
    fn temperatures_are_below_zero() {
        for (written, said) in [
            ("气温降到了-5度。", "气温降到了零下5度。"),
            ("今天−12.5℃", "今天零下12.5℃"),
            ("今天－１２．５℃", "今天零下１２．５℃"),
            ("哈尔滨 -20 °C，", "哈尔滨 零下20 °C，"),
            ("气温-10到-2℃", "气温零下10到零下2℃"),
            ("气温-3~5度", "气温零下3~5度"),
            ("-5摄氏度", "零下5摄氏度"),
        ] {
            assert_eq!(below_zero(written), said);
        }
    }

    #[test]
    fn other_numbers_and_ranges_stay() {
        for text in [
            "旋转-30度。",
            "气温3-5度。",
            "３－５℃",
            "低温下转动-30度角。",
            "结果是-5。",
            "气温是零下-5度",
            "A-5℃",
            "气温--5度",
            "-.5℃",
            "气温-",
        ] {
            assert_eq!(below_zero(text), text);
        }
    }
}
