//! Numbers as people read them.

use std::fmt;
use std::time::Duration;

/// Bytes, as `1.50 MiB`.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub u64);

/// Bytes a second, as `1.50 MiB/s`.
#[derive(Clone, Copy, Debug)]
pub struct Rate(pub u64);

/// A length of time, as `1 h 02 min`, `2 min 05 s`, `3.4 s`.
#[derive(Clone, Copy, Debug)]
pub struct Time(pub Duration);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        // Rounded to the shown digits, 1023.99 KiB would be shown as 1024 KiB.
        while value >= 999.5 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let digits = if value < 9.995 {
            2
        } else {
            usize::from(value < 99.95)
        };
        write!(f, "{value:.digits$} {}", UNITS[unit])
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", Bytes(self.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0 => write!(f, "{:.2} s", self.0.as_secs_f64()),
            1..10 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            10..60 => write!(f, "{seconds} s"),
            60..3600 => write!(f, "{} min {:02} s", seconds / 60, seconds % 60),
            _ => write!(f, "{} h {:02} min", seconds / 3600, seconds / 60 % 60),
        }
    }
}

/// `1 peer`, `2 peers`, `1 leech`, `2 leeches`.
pub fn count(n: u64, what: &str) -> String {
    let many = match what {
        "leech" => "leeches",
        "copy" => "copies",
        _ if n == 1 => what,
        _ => return format!("{n} {what}s"),
    };
    format!("{n} {}", if n == 1 { what } else { many })
}

/// Thousands set apart: `12,345`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1536, "1.50 KiB"),
            (10 << 20, "10.0 MiB"),
            (1_048_000, "1.00 MiB"),
            (200 << 30, "200 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        assert_eq!(Rate(2048).to_string(), "2.00 KiB/s");
    }

    #[test]
    fn times_and_counts() {
        assert_eq!(Time(Duration::from_millis(3449)).to_string(), "3.4 s");
        assert_eq!(Time(Duration::from_secs(59)).to_string(), "59 s");
        assert_eq!(Time(Duration::from_secs(125)).to_string(), "2 min 05 s");
        assert_eq!(Time(Duration::from_secs(3720)).to_string(), "1 h 02 min");
        assert_eq!(count(1, "leech"), "1 leech");
        assert_eq!(count(3, "leech"), "3 leeches");
        assert_eq!(count(0, "peer"), "0 peers");
        assert_eq!(count(1, "peer"), "1 peer");
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(123_456), "123,456");
    }
}
