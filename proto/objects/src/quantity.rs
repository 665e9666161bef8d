//! `resource.Quantity`: exact amounts with suffixes, `500m`, `1.5Gi`, `2e3`.
//!
//! An amount is a whole number of billionths in 128 bits, at most 2^63-1 units either way, as upstream caps it. What is
//! finer rounds away from zero. The canonical form keeps the family of suffixes that the text had.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

use serde_json::Value;

const NANO: i128 = 1_000_000_000;
const MAX_UNITS: i128 = i64::MAX as i128;
const MAX_NANOS: i128 = MAX_UNITS * NANO;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// `m`, `k`, `M` ...
    #[default]
    DecimalSi,
    /// `Ki`, `Mi` ...
    BinarySi,
    /// `e3` ...
    DecimalExponent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An amount. Equality and order are of the amount alone, not of its format.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl Quantity {
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi };

    fn from_nanos(nanos: i128, format: Format) -> Quantity {
        Quantity { nanos: nanos.clamp(-MAX_NANOS, MAX_NANOS), format }
    }

    pub fn units(units: i64, format: Format) -> Quantity {
        Quantity::from_nanos(i128::from(units) * NANO, format)
    }

    pub fn millis(millis: i64) -> Quantity {
        Quantity::from_nanos(i128::from(millis) * (NANO / 1000), Format::DecimalSi)
    }

    /// A JSON string or number.
    pub fn from_value(value: &Value) -> Result<Quantity, Error> {
        match value {
            Value::String(text) => text.trim().parse(),
            Value::Number(number) => number.to_string().parse(),
            _ => Err(Error::Format),
        }
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// Whole units, rounded up.
    pub fn value(&self) -> i64 {
        ceiling(self.nanos, NANO)
    }

    /// Thousandths, rounded up.
    pub fn milli_value(&self) -> i64 {
        ceiling(self.nanos, NANO / 1000)
    }

    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// Whether the amount is a whole number of units.
    pub fn is_integer(&self) -> bool {
        self.nanos % NANO == 0
    }
}

fn ceiling(nanos: i128, unit: i128) -> i64 {
    let rounded = -(-nanos).div_euclid(unit);
    rounded.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// The suffix's meaning: the value of one in billionths of a unit, and what remains to be divided by (a power of ten).
struct Scale {
    unit: i128,
    divide_by_ten: u32,
    format: Format,
}

impl Scale {
    fn of(suffix: &str) -> Result<Scale, Error> {
        let decimal = |power: u32| Scale { unit: 10i128.pow(power), divide_by_ten: 0, format: Format::DecimalSi };
        let binary = |power: u32| Scale { unit: NANO << power, divide_by_ten: 0, format: Format::BinarySi };
        Ok(match suffix {
            "n" => decimal(0),
            "u" => decimal(3),
            "m" => decimal(6),
            "" => decimal(9),
            "k" => decimal(12),
            "M" => decimal(15),
            "G" => decimal(18),
            "T" => decimal(21),
            "P" => decimal(24),
            "E" => decimal(27),
            "Ki" => binary(10),
            "Mi" => binary(20),
            "Gi" => binary(30),
            "Ti" => binary(40),
            "Pi" => binary(50),
            "Ei" => binary(60),
            _ => return Scale::exponent(suffix),
        })
    }

    fn exponent(suffix: &str) -> Result<Scale, Error> {
        let digits = suffix.strip_prefix(['e', 'E']).ok_or(Error::Suffix)?;
        let power: i32 = digits.parse().map_err(|_| Error::Suffix)?;
        let power = power.saturating_add(9);
        // Past this, any amount but zero is at the cap; the cap is applied by the caller.
        let unit = 10i128.pow(power.clamp(0, 28) as u32);
        let divide_by_ten = power.min(0).unsigned_abs();
        Ok(Scale { unit, divide_by_ten, format: Format::DecimalExponent })
    }
}

impl FromStr for Quantity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Quantity, Error> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(number_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || !suffix_shaped(suffix) {
            return Err(Error::Format);
        }
        let scale = Scale::of(suffix)?;
        let nanos = magnitude(whole, fraction, &scale);
        Ok(Quantity::from_nanos(if negative { -nanos } else { nanos }, scale.format))
    }
}

/// Letters of the known suffixes, then perhaps a signed number.
fn suffix_shaped(suffix: &str) -> bool {
    let rest = suffix.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    rest.bytes().all(|byte| byte.is_ascii_digit())
}

/// The amount in billionths, rounded up, at most the cap. The digits are ASCII.
fn magnitude(whole: &str, fraction: &str, scale: &Scale) -> i128 {
    let mut units: i128 = 0;
    for digit in whole.bytes() {
        units = (units * 10 + i128::from(digit - b'0')).min(MAX_NANOS + 1);
    }
    let mut inexact = false;
    let mut below: i128 = 0;
    // From the last digit to the first: each step divides by ten, and remembers if something was lost.
    for digit in fraction.bytes().rev() {
        let sum = i128::from(digit - b'0') * scale.unit + below;
        inexact |= sum % 10 != 0;
        below = sum / 10;
    }
    let mut nanos = units.saturating_mul(scale.unit).saturating_add(below);
    if scale.divide_by_ten > 0 {
        let divisor = 10i128.checked_pow(scale.divide_by_ten).unwrap_or(i128::MAX);
        inexact |= nanos % divisor != 0;
        nanos /= divisor;
    }
    if inexact {
        nanos = nanos.saturating_add(1);
    }
    nanos.min(MAX_NANOS)
}

impl fmt::Display for Quantity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return formatter.write_str("0");
        }
        let small = self.nanos.abs() < 1024 * NANO;
        if self.format == Format::BinarySi && !small && self.is_integer() {
            let mut units = self.nanos / NANO;
            let mut power = 0;
            while units % 1024 == 0 {
                units /= 1024;
                power += 1;
            }
            return write!(formatter, "{units}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]);
        }
        let mut mantissa = self.nanos;
        let mut exponent = -9;
        while mantissa % 1000 == 0 && exponent < 18 {
            mantissa /= 1000;
            exponent += 3;
        }
        match self.format {
            Format::DecimalExponent if exponent == 0 => write!(formatter, "{mantissa}"),
            Format::DecimalExponent => write!(formatter, "{mantissa}e{exponent}"),
            Format::DecimalSi | Format::BinarySi => {
                let suffix = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][((exponent + 9) / 3) as usize];
                write!(formatter, "{mantissa}{suffix}")
            }
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// A sum has the format of its left side, unless that is zero.
impl Add for Quantity {
    type Output = Quantity;

    fn add(self, other: Quantity) -> Quantity {
        let format = if self.is_zero() { other.format } else { self.format };
        Quantity::from_nanos(self.nanos + other.nanos, format)
    }
}

impl Sub for Quantity {
    type Output = Quantity;

    fn sub(self, other: Quantity) -> Quantity {
        self + -other
    }
}

impl Neg for Quantity {
    type Output = Quantity;

    fn neg(self) -> Quantity {
        Quantity::from_nanos(-self.nanos, self.format)
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Quantity) {
        *self = *self + other;
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Quantity) {
        *self = *self - other;
    }
}

/// The canonical text of a quantity's JSON.
pub fn canonical(value: &Value) -> Result<String, Error> {
    Quantity::from_value(value).map(|quantity| quantity.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_become_canonical() {
        let table = [
            ("0", "0"),
            ("100m", "100m"),
            ("0.1", "100m"),
            ("1", "1"),
            ("1.5", "1500m"),
            ("1000m", "1"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("2048Ki", "2Mi"),
            ("128974848", "128974848"),
            ("129e6", "129e6"),
            ("129M", "129M"),
            ("128974848000m", "128974848"),
            ("1e3", "1e3"),
            ("12E", "9223372036854775807"),
            ("-5", "-5"),
            ("+5", "5"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("1e-12", "1e-9"),
            ("0.0000000001", "1n"),
            (".5", "500m"),
            ("5.", "5"),
            ("100Ei", "9223372036854775807"),
        ];
        for (text, canonical) in table {
            assert_eq!(text.parse::<Quantity>().unwrap().to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn bad_texts_are_refused_as_upstream_refuses_them() {
        for text in ["", "a", "1.2.3", "1 Gi", "--1", ".", "1Gi5x"] {
            assert_eq!(text.parse::<Quantity>(), Err(Error::Format), "{text}");
        }
        for text in ["1Zi".replace('Z', "K"), "1ki".to_owned(), "1mm".to_owned(), "1e".to_owned()] {
            let parsed = text.parse::<Quantity>();
            assert!(parsed.is_ok() == (text == "1Ki"), "{text}");
        }
    }

    #[test]
    fn values_round_up() {
        let quantity: Quantity = "1100m".parse().unwrap();
        assert_eq!((quantity.value(), quantity.milli_value()), (2, 1100));
        let negative: Quantity = "-1100m".parse().unwrap();
        assert_eq!(negative.value(), -1);
    }

    #[test]
    fn sums_keep_the_format() {
        let sum = "1Gi".parse::<Quantity>().unwrap() + "512Mi".parse().unwrap();
        assert_eq!(sum.to_string(), "1536Mi");
        let sum = Quantity::ZERO + "1Ki".parse().unwrap() + "1Ki".parse().unwrap();
        assert_eq!(sum.to_string(), "2Ki");
    }

    proptest! {
        #[test]
        fn a_canonical_text_is_its_own(text in "[+-]?[0-9]{1,12}(\\.[0-9]{0,12})?(|n|u|m|k|M|G|Ki|Mi|Gi|Ti|e[0-9]|e-[0-9])") {
            let quantity: Quantity = text.parse().unwrap();
            let printed = quantity.to_string();
            let again: Quantity = printed.parse().unwrap();
            prop_assert_eq!(again, quantity);
            prop_assert_eq!(again.to_string(), printed);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Quantity>();
        }
    }
}
