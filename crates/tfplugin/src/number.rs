//! Numbers of any size: what a state holds is what it keeps.
use std::fmt;

/// The largest magnitude up to which every integer is exact in a double.
const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// A number as exact as the peer sent it.
#[derive(Debug, Clone, PartialEq)]
pub enum Number {
    /// Fits 64 bits with a sign.
    Int(i64),
    /// Fits 64 bits only without a sign.
    Uint(u64),
    /// Has a fraction or is beyond 64 bits.
    Float(f64),
    /// Decimal digits that no other form holds exactly.
    Big(String),
}

impl Number {
    /// The number as a signed integer, when it is one.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Uint(_) | Self::Float(_) | Self::Big(_) => None,
        }
    }
    /// Reads decimal text, in the most exact form that holds it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(value) = text.parse::<i64>() {
            return Some(Self::Int(value));
        }
        if let Ok(value) = text.parse::<u64>() {
            return Some(Self::Uint(value));
        }
        let float = text.parse::<f64>().ok()?;
        let decimal = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E'));
        if !decimal {
            return None;
        }
        Some(if float.is_finite() && float.to_string() == text { Self::from(float) } else { Self::Big(text.to_owned()) })
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl From<u64> for Number {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Self::Uint(value), Self::Int)
    }
}
impl From<f64> for Number {
    #[expect(clippy::cast_possible_truncation, reason = "the value is integral and within 2^53, checked on the line")]
    fn from(value: f64) -> Self {
        if value.fract() == 0.0 && value.abs() <= EXACT_INTEGER_MAX { Self::Int(value as i64) } else { Self::Float(value) }
    }
}
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => write!(f, "{value}"),
            Self::Uint(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Big(digits) => f.write_str(digits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_takes_the_most_exact_form() {
        for (text, expected) in [
            ("0", Number::Int(0)),
            ("-9223372036854775808", Number::Int(i64::MIN)),
            ("18446744073709551615", Number::Uint(u64::MAX)),
            ("0.5", Number::Float(0.5)),
            ("123456789012345678901234567890", Number::Big("123456789012345678901234567890".to_owned())),
            ("0.1000000000000000000000000001", Number::Big("0.1000000000000000000000000001".to_owned())),
        ] {
            assert_eq!(Number::parse(text), Some(expected), "{text}");
            assert_eq!(Number::parse(text).unwrap().to_string(), text);
        }
        for wrong in ["", "x", "inf", "NaN", "0x1"] {
            assert_eq!(Number::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_integral_double_is_an_integer() {
        assert_eq!(Number::from(2.0), Number::Int(2));
        assert_eq!(Number::from(7_u64), Number::Int(7));
    }
}
