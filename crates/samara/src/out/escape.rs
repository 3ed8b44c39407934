//! Text from torrents, peers and trackers made safe for a terminal.
//!
//! A name may hold escape sequences that rewrite the screen, or bidirectional marks that make
//! `gpj.exe` look like `exe.jpg` (Transmission #8495; Unicode TR 36).

use std::borrow::Cow;

/// `text` with control, bidirectional and invisible formatting characters written as `\u{..}`.
/// The result is always one line.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_unsafe(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}'                       // Arabic letter mark
            | '\u{200b}'..='\u{200f}'       // zero width, left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202e}'       // line separators, embeddings and overrides
            | '\u{2060}'..='\u{206f}'       // invisible operators, isolates, deprecated formatting
            | '\u{feff}'                    // byte order mark
            | '\u{fff9}'..='\u{fffb}'       // interlinear annotation
            | '\u{e0000}'..='\u{e007f}') // tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_08_what_can_move_the_cursor_is_escaped() {
        assert_eq!(escape("a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(escape("a\nb\tc\rd"), "a\\nb\\tc\\rd");
        assert_eq!(escape("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(escape("exe\u{202e}gpj"), "exe\\u{202e}gpj");
        assert_eq!(escape("a\u{2067}b\u{200b}"), "a\\u{2067}b\\u{200b}");
        assert!(
            escape(
                &(0..=0x10ffff)
                    .filter_map(char::from_u32)
                    .collect::<String>()
            )
            .chars()
            .all(|c| !is_unsafe(c))
        );
    }

    #[test]
    fn names_in_every_script_stay_as_they_are() {
        for name in [
            "Ünïcode",
            "日本語",
            "Ελληνικά",
            "русский",
            "עברית",
            "العربية",
            "🌰 x",
            "e\u{301}",
        ] {
            assert!(matches!(escape(name), Cow::Borrowed(same) if same == name));
        }
    }
}
