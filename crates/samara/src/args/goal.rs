//! `--seed`: how long to stay when the download is complete.

use super::units::Span;
use std::str::FromStr;
use std::time::Duration;

/// How long to stay when everything is here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// Until nobody who asked is without a full copy.
    Everyone,
    /// Not at all.
    None,
    /// Until told to stop.
    Forever,
    /// Until this many thousandths of the size have been uploaded.
    Ratio(u32),
    /// For this long after completion.
    Time(Duration),
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "everyone" => return Ok(Self::Everyone),
            "none" => return Ok(Self::None),
            "forever" => return Ok(Self::Forever),
            _ => {}
        }
        if let Some(ratio) = text.strip_prefix("ratio=") {
            return match ratio.parse::<f64>() {
                Ok(ratio) if (0.0..=1e6).contains(&ratio) => {
                    Ok(Self::Ratio((ratio * 1000.0).round() as u32))
                }
                _ => Err(format!("'{ratio}' is not a ratio; write it like ratio=1.5")),
            };
        }
        if let Some(time) = text.strip_prefix("time=") {
            return time.parse::<Span>().map(|span| Self::Time(span.0));
        }
        Err(format!(
            "'{text}' is none of everyone, none, forever, ratio=R (like ratio=2), time=DUR (like time=10m)"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals() {
        assert_eq!("everyone".parse(), Ok(Goal::Everyone));
        assert_eq!("none".parse(), Ok(Goal::None));
        assert_eq!("forever".parse(), Ok(Goal::Forever));
        assert_eq!("ratio=1.5".parse(), Ok(Goal::Ratio(1500)));
        assert_eq!("time=2h".parse(), Ok(Goal::Time(Duration::from_secs(7200))));
        for text in [
            "",
            "always",
            "ratio=",
            "ratio=-1",
            "ratio=x",
            "time=",
            "time=soon",
        ] {
            assert!(text.parse::<Goal>().is_err(), "{text}");
        }
    }
}
