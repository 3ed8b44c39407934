//! The common flags, from the command line and from `--config FILE`.

use super::{Command, Common, Rate};
use crate::exit::{Exit, Failure};
use samara_proto::metainfo::NamePolicy;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// A settings file larger than this is not one.
const FILE_MAX: u64 = 64 * 1024;

/// The common flags with everything decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen for peers.
    pub listen: SocketAddr,
    /// JSON on stdout.
    pub json: bool,
    /// Errors only.
    pub quiet: bool,
    /// 0 to 3.
    pub verbose: u8,
    /// Bytes a second.
    pub up_limit: Option<u64>,
    /// Bytes a second.
    pub down_limit: Option<u64>,
    /// Which names files may have.
    pub names: NamePolicy,
    /// The settings file itself, for a command that has more in it.
    pub config: Option<PathBuf>,
}

/// What a settings file may say. A key that is not known is an error: a misspelt limit that is
/// ignored in silence would be found out on the bill.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileSettings {
    listen: Option<String>,
    json: Option<bool>,
    quiet: Option<bool>,
    verbose: Option<u8>,
    up_limit: Option<Limit>,
    down_limit: Option<Limit>,
    any_names: Option<bool>,
}

/// `up-limit = "2M"` or `up-limit = 2000000`.
#[derive(Deserialize, Debug)]
#[serde(untagged)]
enum Limit {
    Number(u64),
    Text(String),
}

impl Limit {
    fn rate(&self) -> Result<Rate, String> {
        match self {
            Self::Number(bytes) => bytes.to_string().parse(),
            Self::Text(text) => text.parse(),
        }
    }
}

impl Settings {
    /// Merges flags and file; flags win. A tracker's file is another one.
    pub fn new(flags: &Common, command: &Command) -> Result<Self, Failure> {
        let file = match &flags.config {
            Some(path) if !matches!(command, Command::Tracker(_)) => read_toml(path)?,
            _ => FileSettings::default(),
        };
        let wrong = |key: &str, why: String| {
            let path = flags.config.as_deref().unwrap_or(Path::new(""));
            Failure::new(Exit::Usage, format!("{}: {key}: {why}", path.display()))
        };
        let limit = |key: &str, flag: Option<Rate>, file: &Option<Limit>| match (flag, file) {
            (Some(rate), _) => Ok(Some(rate.0)),
            (None, Some(limit)) => limit
                .rate()
                .map(|rate| Some(rate.0))
                .map_err(|why| wrong(key, why)),
            (None, None) => Ok(None),
        };
        let listen = match (flags.listen, &file.listen) {
            (Some(addr), _) => addr,
            (None, Some(text)) => text.parse().map_err(|_| {
                wrong(
                    "listen",
                    format!("'{text}' is not an address and a port, like 0.0.0.0:6881"),
                )
            })?,
            (None, None) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        };
        Ok(Self {
            listen,
            config: flags.config.clone(),
            json: flags.json || file.json.unwrap_or(false),
            quiet: flags.verbose == 0 && (flags.quiet || file.quiet.unwrap_or(false)),
            verbose: if flags.quiet {
                0
            } else {
                flags.verbose.max(file.verbose.unwrap_or(0)).min(3)
            },
            up_limit: limit("up-limit", flags.up_limit, &file.up_limit)?,
            down_limit: limit("down-limit", flags.down_limit, &file.down_limit)?,
            names: if flags.any_names || file.any_names.unwrap_or(false) {
                NamePolicy::Local
            } else {
                NamePolicy::Portable
            },
        })
    }
}

/// Reads a settings file. What is wrong with it is said in one line, with the number of the line.
pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let fail = |why: String| {
        Failure::new(
            Exit::Usage,
            format!("cannot use the settings in {}: {why}", path.display()),
        )
    };
    let length = std::fs::metadata(path)
        .map_err(|err| fail(err.to_string()))?
        .len();
    if length > FILE_MAX {
        return Err(fail(format!(
            "{length} bytes are too many (at most {FILE_MAX})"
        )));
    }
    let text = std::fs::read_to_string(path).map_err(|err| fail(err.to_string()))?;
    // The parser's text spans several lines and ends in one; errors here are one line.
    toml::from_str(&text).map_err(|err| {
        let line = err.span().map_or(1, |span| {
            let before = text.get(..span.start).unwrap_or(&text);
            before.matches('\n').count() + 1
        });
        fail(format!("line {line}: {}", err.message().replace('\n', " ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape() -> Command {
        let torrent = String::new();
        Command::Scrape(crate::args::Scrape { torrent })
    }

    fn with_file(text: &str, flags: Common) -> Result<Settings, Failure> {
        let path =
            std::env::temp_dir().join(format!("samara-settings-{}-{:p}", std::process::id(), text));
        std::fs::write(&path, text).expect("written");
        let flags = Common {
            config: Some(path.clone()),
            ..flags
        };
        let settings = Settings::new(&flags, &scrape());
        std::fs::remove_file(path).expect("removed");
        settings
    }

    #[test]
    fn flags_win_over_the_file() {
        let text = "listen = \"127.0.0.1:7\"\nup-limit = \"2M\"\ndown-limit = 1000\nverbose = 2\n";
        let settings = with_file(text, Common::default()).expect("valid");
        assert_eq!(settings.listen, ([127, 0, 0, 1], 7).into());
        assert_eq!(
            (settings.up_limit, settings.down_limit),
            (Some(2 << 20), Some(1000))
        );
        assert_eq!(settings.verbose, 2);
        let flags = Common {
            up_limit: Some(Rate(5)),
            quiet: true,
            ..Common::default()
        };
        let settings = with_file(text, flags).expect("valid");
        assert_eq!(
            (settings.up_limit, settings.quiet, settings.verbose),
            (Some(5), true, 0)
        );
    }

    #[test]
    fn unknown_keys_and_bad_values_are_errors_of_usage() {
        for (text, part) in [
            ("uplimit = 5", "uplimit"),
            ("up-limit = \"fast\"", "'fast' is not a rate"),
            ("listen = \"here\"", "'here' is not an address"),
            ("json = 1", "line 1"),
            ("\n\n= = =", "line 3"),
            ("quiet = true\nuplimit = 5", "line 2"),
        ] {
            let failure = with_file(text, Common::default()).expect_err(text);
            assert_eq!(failure.exit, Exit::Usage);
            let said = failure.to_string();
            assert!(said.contains(part) && !said.contains('\n'), "{said}");
        }
        let missing = Common {
            config: Some("/does/not/exist".into()),
            ..Common::default()
        };
        assert_eq!(
            Settings::new(&missing, &scrape())
                .expect_err("missing")
                .exit,
            Exit::Usage
        );
    }
}
