//! The attribute `timeouts`: how long an apply waits before it hands over to the next one.
use kiven_model::{Code, Violation};
use kiven_tfplugin::{Attr, Nesting, Value};
use std::time::Duration;

/// How long an apply waits when nothing is said.
const DEFAULT: Duration = Duration::from_secs(30 * 60);
/// The longest wait that can be asked for.
const MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The waits that can be set.
const KINDS: [&str; 3] = ["create", "update", "delete"];

/// The attribute.
pub(crate) fn attribute() -> Attr {
    let of = |kind: &'static str| {
        Attr::string(kind).optional().describe(format!("How long `{kind}` waits, such as `45m` or `1h30m`; 30 minutes by default."))
    };
    let text = "How long an apply waits. When time is up nothing is lost: the object is kept, and the next apply waits again.";
    Attr::nested("timeouts", Nesting::Single, KINDS.map(of).into()).optional().describe(text)
}

/// The wait of a kind.
pub(crate) fn of(value: &Value, kind: &str) -> Duration {
    value.get("timeouts").get(kind).as_str().and_then(parse).unwrap_or(DEFAULT)
}

/// What is wrong with the waits of a configuration.
pub(crate) fn check(config: &Value) -> Vec<Violation> {
    let wrong = |kind: &'static str| {
        let text = config.get("timeouts").get(kind).as_str()?;
        parse(text).is_none().then(|| (kind, text.to_owned()))
    };
    let say = |(kind, text): (&str, String)| {
        let text: String = text.chars().take(64).collect();
        Violation::new(
            Code::TIMEOUT_INVALID,
            format!("timeouts.{kind}"),
            format!("`{text}` is not a duration"),
            "From 1s to 24h, written like `45m`, `90s` or `1h30m`.",
        )
    };
    KINDS.into_iter().filter_map(wrong).map(say).collect()
}

fn parse(text: &str) -> Option<Duration> {
    let mut seconds = 0_u64;
    let mut digits = String::new();
    for letter in text.chars() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        let unit = match letter {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        let number: u64 = std::mem::take(&mut digits).parse().ok()?;
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
    }
    let duration = Duration::from_secs(seconds);
    (digits.is_empty() && !duration.is_zero() && duration <= MAX).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_hours_minutes_seconds() {
        for (text, seconds) in [("45m", Some(2700)), ("1h30m", Some(5400)), ("90s", Some(90)), ("24h", Some(86_400))] {
            assert_eq!(parse(text), seconds.map(Duration::from_secs), "{text}");
        }
        for wrong in ["", "0s", "5", "m", "1d", "25h", "-1m", "99999999999999999999h"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
