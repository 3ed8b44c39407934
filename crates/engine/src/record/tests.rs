use super::*;
use crate::io::{Answer, FilesOutcome, PeerKey, PieceOutcome, SeedGoal, TrackerKey};
use crate::rng::Seed;
use bytes::Bytes;
use samara_proto::metainfo::Info;
use samara_proto::wire::{Message, Reserved};
use samara_proto::{Bitfield, PeerId, Span};
use std::sync::Arc;

fn spec() -> Spec {
    let mut raw = b"d6:lengthi100000e4:name1:x12:piece lengthi65536e6:pieces40:".to_vec();
    raw.extend([7; 40]);
    raw.push(b'e');
    let info = Info::from_bytes(Bytes::from(raw)).expect("valid");
    Spec {
        info: Arc::new(info),
        peer_id: PeerId(*b"-Sa0100-abcdefghijkl"),
        listen_port: 6881,
        have: Bitfield::full(2),
        files_checked: true,
        trackers: vec![1, 2],
        candidates: vec!["[fe80::1%3]:80".parse().expect("valid")],
        seed: Seed(u64::MAX),
    }
}

/// One of every kind.
fn inputs() -> Vec<Input> {
    let peer = PeerKey(7);
    let span = Span {
        piece: 1,
        offset: 16384,
        length: 16384,
    };
    let answer = Answer {
        interval: Duration::from_secs(1800),
        seeds: Some(3),
        peers: vec!["10.0.0.1:6881".parse().expect("valid")],
        warning: Some("späť".into()),
        ..Answer::default()
    };
    vec![
        Input::Tick,
        Input::PeerUp {
            peer,
            addr: "10.9.8.7:1".parse().expect("valid"),
            outgoing: true,
            peer_id: PeerId([200; 20]),
            reserved: Reserved::ours(true),
        },
        Input::Message {
            peer,
            message: Message::Request(span),
        },
        Input::Message {
            peer,
            message: Message::Extended {
                id: 0,
                payload: Bytes::from_static(b"de"),
            },
        },
        Input::Block { peer, span },
        Input::Served {
            peer,
            bytes: 1 << 40,
        },
        Input::ServeFailed { peer, span },
        Input::PieceDone {
            piece: 1,
            outcome: PieceOutcome::Bad(vec![1, u64::MAX]),
        },
        Input::PieceDone {
            piece: 0,
            outcome: PieceOutcome::Disk("full".into()),
        },
        Input::FilesChecked(FilesOutcome::BadPieces(vec![0, 1])),
        Input::Announced {
            tracker: TrackerKey { tier: 1, place: 0 },
            answer: Some(answer),
        },
        Input::Candidates(vec!["[::1]:9".parse().expect("valid")]),
        Input::Malformed { peer },
        Input::DialFailed {
            addr: "1.2.3.4:5".parse().expect("valid"),
        },
        Input::PeerDown { peer },
        Input::MakeRoom,
        Input::PiecesLost(vec![1]),
        Input::DiskFailed("gone".into()),
        Input::Stop,
    ]
}

fn recorded(times: u64) -> Vec<u8> {
    let config = Config {
        seed_goal: SeedGoal::Ratio(1500),
        ..Config::default()
    };
    let start = Instant::from_nanos(5_000_000_000);
    let mut recorder = Recorder::new(&spec(), &config, start);
    for round in 0..times {
        for input in inputs() {
            recorder.input(start + Duration::from_micros(round * 300), &input);
        }
    }
    recorder.end();
    recorder.take()
}

#[test]
fn what_was_written_is_what_is_read() {
    let bytes = recorded(40);
    let mut recording = Recording::open(&bytes).expect("valid");
    assert_eq!(format!("{:?}", recording.spec), format!("{:?}", spec()));
    assert_eq!(recording.config.seed_goal, SeedGoal::Ratio(1500));
    assert_eq!(recording.config.memory, Config::default().memory);
    let (mut read, mut checks) = (Vec::new(), 0);
    loop {
        match recording.next_entry().expect("whole") {
            Entry::Input(now, input) => read.push((now, input)),
            Entry::Check(_) => checks += 1,
            Entry::End(_) => break,
        }
    }
    assert_eq!(read.len(), 40 * inputs().len());
    assert_eq!(checks, 2);
    for (at, (now, input)) in read.iter().enumerate() {
        let said = &inputs()[at % inputs().len()];
        assert_eq!(format!("{input:?}"), format!("{said:?}"));
        let round = (at / inputs().len()) as u64;
        assert_eq!(*now, recording.start + Duration::from_micros(round * 300));
    }
}

#[test]
fn every_cut_and_every_flipped_byte_is_an_error_or_another_recording_and_never_a_panic() {
    let whole = recorded(2);
    let read = |bytes: &[u8]| -> Result<(), RecordError> {
        let mut recording = Recording::open(bytes)?;
        while !matches!(recording.next_entry()?, Entry::End(_)) {}
        Ok(())
    };
    assert_eq!(read(&whole), Ok(()));
    for length in 0..whole.len() {
        assert!(read(&whole[..length]).is_err(), "{length} bytes");
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        let _ = read(&bytes);
    }
    assert_eq!(read(b"something else"), Err(RecordError::NotARecording));
    let mut newer = whole;
    newer[16] = 9;
    assert_eq!(read(&newer), Err(RecordError::Version(9)));
}
