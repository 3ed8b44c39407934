//! Rates, sizes and lengths of time as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Bytes a second. `500KiB`, `2M`, `1.5MB/s`, `20Mbit`; a bare number is bytes a second.
///
/// `K`, `M` and `G` alone are powers of 1024, as in curl, wget and aria2; `kB` and `kbit` are powers
/// of 1000, as the units say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub u64);

/// A number of bytes, written as a [`Rate`] without the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// A length of time: `90`, `30s`, `10m`, `2h`, `1d`, `1h30m`; a bare number is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    /// The shortest way to write it that reads back as the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, ms) = (self.0.as_secs(), self.0.subsec_millis());
        if ms > 0 {
            return write!(f, "{}s", self.0.as_secs_f64());
        }
        for (unit, seconds) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
            if whole > 0 && whole % seconds == 0 {
                return write!(f, "{}{unit}", whole / seconds);
            }
        }
        write!(f, "{whole}s")
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_ascii_lowercase();
        let bare = lower
            .strip_suffix("/s")
            .or_else(|| lower.strip_suffix("ps"))
            .unwrap_or(&lower);
        let bytes = match bare
            .strip_suffix("bit")
            .or_else(|| bare.strip_suffix("bits"))
        {
            Some(bits) => quantity(bits, true).map(|bits| bits / 8.0),
            None => quantity(bare, false),
        };
        let bytes = bytes.ok_or_else(|| {
            format!("'{text}' is not a rate; write it like 500KiB, 2M, 1.5MB/s or 20Mbit")
        })?;
        if bytes < 1.0 {
            return Err(
                "a rate of nothing would never finish; leave the limit out for none".into(),
            );
        }
        Ok(Self(bytes as u64))
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        quantity(&text.trim().to_ascii_lowercase(), false)
            .map(|bytes| Self(bytes as u64))
            .ok_or_else(|| format!("'{text}' is not a size; write it like 256KiB, 1M or 65536"))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || format!("'{text}' is not a length of time; write it like 90s, 10m, 2h or 1h30m");
        let lower = text.trim().to_ascii_lowercase();
        if let Ok(seconds) = lower.parse::<f64>() {
            return Duration::try_from_secs_f64(seconds)
                .map(Self)
                .map_err(|_| bad());
        }
        let mut rest = lower.as_str();
        let mut total = 0.0;
        if rest.is_empty() {
            return Err(bad());
        }
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(bad)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(tail.len());
            let (unit, next) = tail.split_at(letters);
            let number: f64 = number.parse().map_err(|_| bad())?;
            total += number
                * match unit {
                    "s" | "sec" => 1.0,
                    "m" | "min" => 60.0,
                    "h" => 3600.0,
                    "d" => 86_400.0,
                    _ => return Err(bad()),
                };
            rest = next;
        }
        Duration::try_from_secs_f64(total)
            .map(Self)
            .map_err(|_| bad())
    }
}

/// `number` and a prefix; `decimal_only` for bits, where `M` has always been a million.
fn quantity(text: &str, decimal_only: bool) -> Option<f64> {
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let unit = unit.trim();
    let factor = match unit {
        "" | "b" => 1.0,
        "k" | "m" | "g" | "t" if decimal_only => decimal(unit)?,
        "k" | "kib" | "ki" => 1024.0,
        "m" | "mib" | "mi" => 1_048_576.0,
        "g" | "gib" | "gi" => 1_073_741_824.0,
        "t" | "tib" | "ti" => 1_099_511_627_776.0,
        _ => decimal(unit.strip_suffix('b')?)?,
    };
    let bytes = number * factor;
    // Beyond 2^53 a float no longer holds whole bytes; 8 PiB is far beyond any torrent.
    (bytes.is_finite() && bytes < 9_007_199_254_740_992.0).then_some(bytes)
}

fn decimal(prefix: &str) -> Option<f64> {
    Some(match prefix {
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "t" => 1e12,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (text, bytes) in [
            ("500", 500),
            ("500B/s", 500),
            ("1K", 1024),
            ("500KiB", 512_000),
            ("2M", 2_097_152),
            ("1.5MB/s", 1_500_000),
            ("20Mbit", 2_500_000),
            ("20 Mbit/s", 2_500_000),
            ("8kbps", 8_000),
            ("1GiB/s", 1 << 30),
        ] {
            assert_eq!(text.parse::<Rate>(), Ok(Rate(bytes)), "{text}");
        }
        for text in [
            "", "fast", "-1", "0", "1XB", "1e400", "NaN", "inf", "9999999T", "1..2K",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!("16KiB".parse::<Size>(), Ok(Size(16_384)));
        assert_eq!("256k".parse::<Size>(), Ok(Size(262_144)));
        assert_eq!("65536".parse::<Size>(), Ok(Size(65_536)));
        assert_eq!("1MB".parse::<Size>(), Ok(Size(1_000_000)));
        assert!("big".parse::<Size>().is_err());
    }

    #[test]
    fn lengths_of_time() {
        for (text, seconds) in [
            ("90", 90.0),
            ("1.5", 1.5),
            ("30s", 30.0),
            ("10m", 600.0),
            ("1h30m", 5400.0),
            ("1d", 86400.0),
        ] {
            assert_eq!(
                text.parse::<Span>(),
                Ok(Span(Duration::from_secs_f64(seconds))),
                "{text}"
            );
        }
        for text in ["90s", "1.5s", "2m", "1h", "1d", "0s", "5400s"] {
            let span: Span = text.parse().expect(text);
            assert_eq!(span.to_string().parse(), Ok(span));
        }
        assert_eq!(Span(Duration::from_secs(5_400)).to_string(), "90m");
        for text in ["", "m", "10x", "1h30", "-5", "1e30", "..s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
