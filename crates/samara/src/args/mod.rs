//! The command line.

mod goal;
mod settings;
mod units;

pub use goal::Goal;
pub use settings::{Settings, read_toml};
pub use units::{Rate, Size, Span};

pub use crate::commands::tracker::config::Format as LogFormat;
use clap::{Args, Parser, Subcommand, ValueEnum};
use samara_tracker::serve::SharedAddress;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Give a file to many hosts at once: every host that downloads also uploads, and every byte is checked.
#[derive(Parser, Debug)]
#[command(name = "samara", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  samara share disk.iso                          on one host; prints the line that the others run:
  samara get http://192.0.2.7:6969/disk.iso.torrent

  samara get disk.torrent -o /srv                a .torrent file, an address of one, or a magnet link
  samara demo                                    a whole swarm on this machine, to look at

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the data does not match its checksum, 130 interrupted.";

/// Flags of every command.
#[derive(Args, Debug, Clone, Default)]
pub struct Common {
    /// Address and port for peers; port 0 is any free one [default: 0.0.0.0:0]
    #[arg(long, global = true, value_name = "IP:PORT")]
    pub listen: Option<SocketAddr>,
    /// Print one JSON object a line on stdout, and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
    /// Say only the result and what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Show more, and the log on stderr; -vv and -vvv show more of it
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Send at most this much a second, like 500KiB, 2M or 20Mbit
    #[arg(long, global = true, value_name = "RATE")]
    pub up_limit: Option<Rate>,
    /// Receive at most this much a second
    #[arg(long, global = true, value_name = "RATE")]
    pub down_limit: Option<Rate>,
    /// Take names that this system can hold and some other cannot, like aux.c or two that differ by case
    #[arg(long, global = true)]
    pub any_names: bool,
    /// Read these flags from a TOML file (listen, json, quiet, verbose, up-limit, down-limit, any-names); the
    /// command line wins
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make the torrent, start a tracker and a seed, and print the one line that others run
    Share(Share),
    /// Download, check every file, and seed until nobody who asked is without a copy
    Get(Get),
    /// Write PATH.torrent
    Create(Create),
    /// Seed what is already here
    Seed(SeedCmd),
    /// Run a tracker: who is in which swarm
    Tracker(Tracker),
    /// Show what a torrent holds
    Info(Info),
    /// Check data on disk against a torrent
    Verify(Verify),
    /// Ask every tracker of a torrent how many seeds and leeches it knows
    Scrape(Scrape),
    /// Watch a whole swarm on this machine: tracker, seed, leeches; then a summary
    Demo(Demo),
}

/// How a torrent is made; `create` and `share` have these in common.
#[derive(Args, Debug, Clone)]
pub struct Making {
    /// Announce to this tracker; repeat for further tiers, join those of one tier by commas
    #[arg(short, long = "tracker", value_name = "URL")]
    pub tracker: Vec<String>,
    /// Bytes a piece, a power of two from 16KiB to 512KiB [default: by the size of the data]
    #[arg(long, value_name = "SIZE")]
    pub piece_size: Option<Size>,
    /// Allow pieces above 512KiB, up to 256MiB
    #[arg(long)]
    pub allow_large_pieces: bool,
    /// Which hashes to put in; only v1 works with every client
    #[arg(long, value_enum, default_value_t = Format::V1)]
    pub format: Format,
    /// Only the trackers may say who the peers are (BEP 27)
    #[arg(long)]
    pub private: bool,
    /// Free text to put in
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// An http address that serves the same data (BEP 19); may be repeated
    #[arg(long, value_name = "URL")]
    pub webseed: Vec<String>,
}

/// Which hashes a torrent carries.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// SHA-1 of pieces (BEP 3) and of every whole file (BEP 47)
    V1,
    /// SHA-256 merkle trees (BEP 52)
    V2,
    /// Both; aria2 and Transmission 3 cannot use it (docs/decisions/0004-default-format.md)
    Hybrid,
}

/// `share`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  samara share disk.iso
  samara share photos/                           a whole folder
  samara share a.iso b.iso                       files of one folder, as one torrent named after it
  samara share disk.iso --host files.example.org --http 0.0.0.0:8080

The tracker lives in this process, so `share` stays until it is stopped and says when everybody who
asked has a copy; `--seed everyone` makes it leave then.")]
pub struct Share {
    /// A file, a folder, or several files and folders that lie in one folder
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub making: Making,
    /// Also write the .torrent here: a file name, or a folder that exists
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Address of the tracker and of the .torrent [default: 0.0.0.0:6969, or any free port]
    #[arg(long, value_name = "IP:PORT")]
    pub http: Option<SocketAddr>,
    /// What other hosts call this one, a name or an address [default: the address of the default route]
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// How long to stay: everyone, none, forever, ratio=R, time=DUR
    #[arg(long, value_name = "GOAL", default_value = "forever")]
    pub seed: Goal,
    /// Also start a new download while the swarm has no seed
    #[arg(long)]
    pub allow_seedless: bool,
}

/// `get`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  samara get http://192.0.2.7:6969/disk.iso.torrent
  samara get disk.torrent -o /srv --seed none
  samara get 'magnet:?xt=urn:btih:...' --down-limit 20Mbit

Run it again after it was stopped, and it goes on with what was verified.")]
pub struct Get {
    /// A .torrent file, an http(s) address of one, or a magnet link
    pub source: String,
    /// Put the data into this folder
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub output: PathBuf,
    /// How long to stay when complete: everyone, none, forever, ratio=R, time=DUR
    #[arg(long, value_name = "GOAL", default_value = "everyone")]
    pub seed: Goal,
    /// Also try this peer; may be repeated
    #[arg(long, value_name = "IP:PORT")]
    pub peer: Vec<SocketAddr>,
    /// Also announce to this tracker; may be repeated
    #[arg(short, long = "tracker", value_name = "URL")]
    pub tracker: Vec<String>,
    /// Overwrite files that are in the way and have nothing to do with the torrent
    #[arg(long)]
    pub force: bool,
    /// Take the space of all files before downloading; otherwise they are sparse and grow
    #[arg(long)]
    pub preallocate: bool,
    /// Write down what the engine is told into this new file, for `samara-sim replay`
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// `create`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  samara create disk.iso -t http://tracker.example.org:6969/announce
  samara create photos/ -t http://a.example/announce,http://b.example/announce -o photos.torrent")]
pub struct Create {
    /// A file, a folder, or several files and folders that lie in one folder
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub making: Making,
    /// Where to write: a file name, or a folder that exists [default: NAME.torrent here]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Overwrite a file that is there
    #[arg(long)]
    pub force: bool,
}

/// `seed`
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  samara seed disk.torrent --data /srv --seed forever")]
pub struct SeedCmd {
    /// The .torrent file, or an http(s) address of one
    pub torrent: String,
    /// The folder that holds the torrent's top-level file or folder
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub data: PathBuf,
    /// How long to stay: everyone, none, forever, ratio=R, time=DUR
    #[arg(long, value_name = "GOAL", default_value = "everyone")]
    pub seed: Goal,
    /// Also try this peer; may be repeated
    #[arg(long, value_name = "IP:PORT")]
    pub peer: Vec<SocketAddr>,
    /// Also announce to this tracker; may be repeated
    #[arg(short, long = "tracker", value_name = "URL")]
    pub tracker: Vec<String>,
    /// Write down what the engine is told into this new file, for `samara-sim replay`
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// `tracker`
#[derive(Args, Debug, Clone, Default)]
#[command(after_help = "\
Examples:
  samara tracker --http 0.0.0.0:6969             then announce to http://HOST:6969/announce
  samara tracker --udp 0.0.0.0:6969 --state tracker.state
                                                 and to udp://HOST:6969/announce; a restart forgets nobody
  samara tracker --print-config > tracker.toml   every setting with its reason, to be changed and given back:
  samara tracker --config tracker.toml

SIGHUP reads the settings again, and all files that they name.")]
pub struct Tracker {
    /// Where to listen for HTTP [default: 0.0.0.0:6969]
    #[arg(long, value_name = "IP:PORT")]
    pub http: Option<SocketAddr>,
    /// Where to listen for HTTPS as well; needs --tls-cert and --tls-key
    #[arg(long, value_name = "IP:PORT")]
    pub https: Option<SocketAddr>,
    /// The certificate of HTTPS with its chain, in PEM
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Where to listen for UDP as well (BEP 15); may be repeated
    #[arg(long, value_name = "IP:PORT")]
    pub udp: Vec<SocketAddr>,
    /// Threads that answer over UDP, for each address [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// Keep the swarms in this file: written every minute and at the end, read at the start
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Share the swarms with other trackers through Redis or Valkey: redis://HOST, redis+sentinel://HOST,HOST/NAME
    /// or redis+cluster://HOST,HOST
    #[arg(long, value_name = "URL")]
    pub shared: Option<SharedAddress>,
    /// Serve only the info-hashes in this file, one a line
    #[arg(long, value_name = "FILE")]
    pub allow: Option<PathBuf>,
    /// Serve none of the info-hashes in this file
    #[arg(long, value_name = "FILE")]
    pub deny: Option<PathBuf>,
    /// Serve only those who announce to http://HOST/KEY/announce with a key of this file
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// Write the log as text or as json, one object a line [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Also start a new download while the swarm has no seed
    #[arg(long)]
    pub allow_seedless: bool,
    /// Print the settings in force as a TOML file with every key, its default and its reason, and end
    #[arg(long)]
    pub print_config: bool,
}

/// `info`
#[derive(Args, Debug)]
pub struct Info {
    /// A .torrent file, an http(s) address of one, or a magnet link
    pub torrent: String,
    /// List every file, however many
    #[arg(long)]
    pub all: bool,
}

/// `verify`
#[derive(Args, Debug)]
pub struct Verify {
    /// The .torrent file, or an http(s) address of one
    pub torrent: String,
    /// The folder that holds the torrent's top-level file or folder
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub data: PathBuf,
}

/// `scrape`
#[derive(Args, Debug)]
pub struct Scrape {
    /// A .torrent file, an http(s) address of one, or a magnet link
    pub torrent: String,
}

/// `demo`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  samara demo                                    64 MiB of random bytes, one seed, 8 leeches
  samara demo disk.iso --leeches 20 --up-limit 50Mbit")]
pub struct Demo {
    /// What to share; without it, a random file in a temporary folder
    pub path: Option<PathBuf>,
    /// Hosts that download
    #[arg(short = 'n', long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub leeches: u16,
    /// Size of the random file
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64MiB",
        conflicts_with = "path"
    )]
    pub size: Size,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn clap_agrees_with_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn common_flags_go_before_and_after_the_command() {
        let line = "samara --json seed t --data d --seed forever --listen 127.0.0.1:1";
        let cli = Cli::try_parse_from(line.split(' ')).expect("valid");
        assert!(cli.common.json);
        assert_eq!(cli.common.listen, Some(([127, 0, 0, 1], 1).into()));
        assert!(matches!(
            cli.command,
            Command::Seed(SeedCmd {
                seed: Goal::Forever,
                ..
            })
        ));
    }

    #[test]
    fn defaults_are_those_of_the_manual() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).expect("valid").command;
        let Command::Share(share) = parse("samara share x") else {
            panic!()
        };
        assert_eq!(
            (share.seed, share.making.format),
            (Goal::Forever, Format::V1)
        );
        let Command::Get(get) = parse("samara get x") else {
            panic!()
        };
        assert_eq!((get.seed, get.output), (Goal::Everyone, PathBuf::from(".")));
    }

    #[test]
    fn wrong_usage_is_refused() {
        for line in [
            "samara",
            "samara fly",
            "samara get",
            "samara share",
            "samara get x --up-limit 0",
            "samara get x --seed maybe",
            "samara create x --format v3",
            "samara get x -q -v",
            "samara demo -n 0",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
