//! `IntOrString`: a count or a share, as in `maxSurge: 25%`.

use serde_json::Value;

use crate::field::quote;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntOrString {
    Int(i32),
    String(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("invalid value for IntOrString: invalid type: string is not a percentage")]
    NotAPercentage,
    #[error("invalid value for IntOrString: invalid value {}: not a number", quote(.0))]
    NotANumber(String),
}

/// Which way a share that is no whole number goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    Up,
    Down,
}

impl IntOrString {
    /// `None` if the value is neither a 32-bit integer nor a string.
    pub fn from_value(value: &Value) -> Option<IntOrString> {
        match value {
            Value::Number(number) => Some(IntOrString::Int(i32::try_from(number.as_i64()?).ok()?)),
            Value::String(text) => Some(IntOrString::String(text.clone())),
            _ => None,
        }
    }

    /// The count, or the share of `total`.
    pub fn scaled(&self, total: i32, rounding: Rounding) -> Result<i32, Error> {
        match self {
            IntOrString::Int(count) => Ok(*count),
            IntOrString::String(text) => {
                let digits = text.strip_suffix('%').ok_or(Error::NotAPercentage)?;
                let percent: i32 = digits.parse().map_err(|_| Error::NotANumber(text.clone()))?;
                let product = i64::from(percent) * i64::from(total);
                let share = match rounding {
                    Rounding::Down => product.div_euclid(100),
                    Rounding::Up => -(-product).div_euclid(100),
                };
                Ok(share.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32)
            }
        }
    }
}

impl From<&Value> for IntOrString {
    /// What is neither counts as zero; decoding has refused it before.
    fn from(value: &Value) -> IntOrString {
        IntOrString::from_value(value).unwrap_or(IntOrString::Int(0))
    }
}

impl std::fmt::Display for IntOrString {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            IntOrString::Int(count) => write!(formatter, "{count}"),
            IntOrString::String(text) => formatter.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_as_asked() {
        let share = |text: &str| IntOrString::String(text.to_owned());
        let table = [
            (IntOrString::Int(3), 10, Rounding::Up, Ok(3)),
            (share("25%"), 3, Rounding::Up, Ok(1)),
            (share("25%"), 3, Rounding::Down, Ok(0)),
            (share("50%"), 10, Rounding::Up, Ok(5)),
            (share("100%"), 0, Rounding::Up, Ok(0)),
            (share("5"), 10, Rounding::Up, Err(Error::NotAPercentage)),
            (share("x%"), 10, Rounding::Up, Err(Error::NotANumber("x%".to_owned()))),
        ];
        for (value, total, rounding, expected) in table {
            assert_eq!(value.scaled(total, rounding), expected, "{value} of {total}");
        }
    }
}
