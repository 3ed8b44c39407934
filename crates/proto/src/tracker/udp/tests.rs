use super::*;

const TRANSACTION: TransactionId = [0xde, 0xad, 0xbe, 0xef];
const CONNECTION: ConnectionId = [1, 2, 3, 4, 5, 6, 7, 8];

fn announce() -> UdpAnnounce {
    UdpAnnounce {
        info_hash: InfoHash([0xaa; 20]),
        peer_id: PeerId([0xbb; 20]),
        downloaded: 1,
        left: Some(2),
        uploaded: 3,
        event: Event::Started,
        ip: None,
        key: 0x0102_0304,
        numwant: Some(50),
        port: 6881,
    }
}

fn packed(request: &Request<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    request.encode(&mut out);
    out
}

fn asking(announce: UdpAnnounce, options: &[u8]) -> Vec<u8> {
    packed(&Request::Announce {
        connection: CONNECTION,
        transaction: TRANSACTION,
        announce,
        options: Options::packed(options),
    })
}

#[test]
fn the_layouts_of_bep_15() {
    let connect = packed(&Request::Connect {
        transaction: TRANSACTION,
    });
    assert_eq!(
        connect,
        [
            0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef
        ]
    );
    let bytes = asking(announce(), &[]);
    assert_eq!(bytes.len(), ANNOUNCE_LEN);
    assert_eq!(bytes[..8], CONNECTION);
    assert_eq!(bytes[8..12], [0, 0, 0, 1]);
    assert_eq!(bytes[12..16], TRANSACTION);
    assert_eq!(bytes[16..36], [0xaa; 20]);
    assert_eq!(bytes[36..56], [0xbb; 20]);
    assert_eq!(bytes[63], 1, "downloaded");
    assert_eq!(bytes[71], 2, "left");
    assert_eq!(bytes[79], 3, "uploaded");
    assert_eq!(bytes[80..84], [0, 0, 0, 2], "event");
    assert_eq!(bytes[84..88], [0; 4], "ip");
    assert_eq!(bytes[88..92], [1, 2, 3, 4], "key");
    assert_eq!(bytes[92..96], [0, 0, 0, 50], "num_want");
    assert_eq!(bytes[96..98], [0x1a, 0xe1], "port");
    assert_eq!(
        announce_reply_head(TRANSACTION, 1_800, 7, 9),
        [
            0, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef, 0, 0, 7, 8, 0, 0, 0, 7, 0, 0, 0, 9
        ]
    );
    assert_eq!(scrape_counts(1, 2, 3), [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
    assert_eq!(error_reply_head(TRANSACTION)[3], 3);
    assert_eq!(scrape_reply_head(TRANSACTION)[3], 2);
}

#[test]
fn requests_round_trip() {
    let hashes = [1_u8; 40];
    let url = Options::pack_url("/announce?key=abc");
    let all = [
        Request::Connect {
            transaction: TRANSACTION,
        },
        Request::Announce {
            connection: CONNECTION,
            transaction: TRANSACTION,
            announce: announce(),
            options: Options::packed(&url),
        },
        Request::Scrape {
            connection: CONNECTION,
            transaction: TRANSACTION,
            hashes: Hashes::packed(&hashes),
        },
    ];
    for request in all {
        assert_eq!(Request::decode(&packed(&request)), Ok(request));
    }
    for event in [
        Event::None,
        Event::Started,
        Event::Completed,
        Event::Stopped,
        Event::Paused,
    ] {
        let said = UdpAnnounce {
            event,
            left: None,
            numwant: None,
            ip: Some(Ipv4Addr::new(9, 8, 7, 6)),
            ..announce()
        };
        let bytes = asking(said, &[]);
        let Ok(Request::Announce { announce, .. }) = Request::decode(&bytes) else {
            panic!("{event:?}");
        };
        assert_eq!(announce, said);
    }
}

#[test]
fn wishes_and_numbers_at_the_edge() {
    for (raw, want) in [
        ([0xff, 0xff, 0xff, 0xff], None),
        ([0x80, 0, 0, 0], None),
        ([0, 0, 0, 0], Some(0)),
        ([0x7f, 0xff, 0xff, 0xff], Some(i32::MAX as u32)),
    ] {
        let mut bytes = asking(announce(), &[]);
        bytes[92..96].copy_from_slice(&raw);
        let Ok(Request::Announce { announce, .. }) = Request::decode(&bytes) else {
            panic!("{raw:?}");
        };
        assert_eq!(announce.numwant, want);
    }
    let huge = UdpAnnounce {
        numwant: Some(u32::MAX),
        ..announce()
    };
    assert_eq!(asking(huge, &[])[92..96], [0x7f, 0xff, 0xff, 0xff]);
    let mut odd = asking(announce(), &[]);
    odd[83] = 99;
    assert!(matches!(
        Request::decode(&odd),
        Ok(Request::Announce { announce, .. }) if announce.event == Event::None
    ));
}

#[test]
fn what_is_cut_short_or_of_another_kind_is_refused() {
    let bytes = asking(announce(), &[]);
    for len in 0..bytes.len() {
        assert_eq!(
            Request::decode(&bytes[..len]),
            Err(PacketError::Short(len)),
            "{len}"
        );
    }
    let mut wrong = bytes;
    wrong[11] = 9;
    assert_eq!(Request::decode(&wrong), Err(PacketError::Action(9)));
    wrong[11] = 0;
    assert_eq!(Request::decode(&wrong), Err(PacketError::Protocol));
    wrong[11] = 2;
    assert_eq!(Request::decode(&wrong), Err(PacketError::Hashes(82)));
    assert_eq!(Request::decode(&wrong[..16]), Err(PacketError::Hashes(0)));
    for error in [
        PacketError::Short(1),
        PacketError::Action(1),
        PacketError::Protocol,
        PacketError::Hashes(1),
    ] {
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn a_glance_sees_what_reading_sees() {
    let bytes = asking(announce(), b"\x00");
    let seen = Some((announce().info_hash, announce().port));
    assert_eq!(peek_announce(&bytes), seen);
    assert_eq!(peek_announce(&bytes[..97]), None);
    let mut scrape = bytes;
    scrape[11] = 2;
    assert_eq!(peek_announce(&scrape), None);
}

#[test]
fn a_scrape_is_capped() {
    let hashes: Vec<u8> = (0..100).flat_map(|n| [n; 20]).collect();
    let read: Vec<InfoHash> = Hashes::packed(&hashes).iter().collect();
    assert_eq!(read.len(), MAX_UDP_SCRAPE);
    assert_eq!(read[73], InfoHash([73; 20]));
    const { assert!(REPLY_HEAD + 12 * MAX_UDP_SCRAPE <= MAX_UDP_REPLY) };
}

#[test]
fn the_options_of_bep_41() {
    for (bytes, url) in [
        (&b""[..], &b""[..]),
        (b"\x00", b""),
        (b"\x02\x03/an", b"/an"),
        // In parts, between others, unknown ones skipped.
        (
            b"\x01\x02\x02/a\x07\x03xyz\x01\x02\x01n\x00\x02\x01?",
            b"/an",
        ),
        (b"\x02", b""),
        (b"\x02\x05/an", b""),
        (b"\x02\x01/\x09\xff", b"/"),
    ] {
        assert_eq!(Options::packed(bytes).url_data(), url, "{bytes:?}");
    }
    let long = "x".repeat(700);
    let packed = Options::pack_url(&long);
    assert_eq!(Options::packed(&packed).url_data(), long.as_bytes());
    assert!(Options::packed(&[]).is_empty());
    let endless = b"\x02\xff".repeat(40_000);
    assert!(Options::packed(&endless).url_data().len() <= MAX_URL_DATA);
    let longest = Options::pack_url(&"y".repeat(5_000));
    assert_eq!(Options::packed(&longest).url_data().len(), MAX_URL_DATA);
}

#[test]
fn replies_are_read() {
    let connect = connect_reply(TRANSACTION, CONNECTION);
    let read = |bytes: &[u8], six| Reply::decode(bytes, six).map(|reply| reply.body);
    assert_eq!(read(&connect, false), Ok(ReplyBody::Connect(CONNECTION)));
    let mut four = announce_reply_head(TRANSACTION, 0, 7, 9).to_vec();
    four.extend_from_slice(&[1, 2, 3, 4, 0, 80]);
    four.extend_from_slice(&[1, 2, 3, 4, 0, 0]);
    four.extend_from_slice(&[224, 0, 0, 1, 0, 80]);
    four.extend_from_slice(&[5, 6, 7, 8, 1]);
    let reply = Reply::decode(&four, false).expect("read");
    assert_eq!(reply.transaction, TRANSACTION);
    assert_eq!(
        reply.body,
        ReplyBody::Announce {
            interval: DEFAULT_INTERVAL,
            leeches: 7,
            seeds: 9,
            peers: vec![SocketAddr::from(([1, 2, 3, 4], 80))],
        }
    );
    let mut six = announce_reply_head(TRANSACTION, u32::MAX, 0, 0).to_vec();
    six.extend_from_slice(&[0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 80]);
    assert_eq!(
        read(&six, true),
        Ok(ReplyBody::Announce {
            interval: MAX_INTERVAL,
            leeches: 0,
            seeds: 0,
            peers: vec!["[2001::5]:80".parse().expect("address")],
        })
    );
    let mut scrape = scrape_reply_head(TRANSACTION).to_vec();
    for n in 0..80 {
        scrape.extend_from_slice(&scrape_counts(n, 2, 3));
    }
    let Ok(ReplyBody::Scrape(counts)) = read(&scrape, false) else {
        panic!("a scrape reply");
    };
    assert_eq!((counts.len(), counts[73]), (74, [73, 2, 3]));
    let mut error = error_reply_head(TRANSACTION).to_vec();
    error.extend_from_slice(b"no such torrent\0");
    assert_eq!(
        read(&error, false),
        Ok(ReplyBody::Error(Refusal::new("no such torrent")))
    );
    assert_eq!(
        read(&[0, 0, 0, 7, 0, 0, 0, 0], false),
        Err(PacketError::Action(7))
    );
    for len in 0..connect.len() {
        assert_eq!(read(&connect[..len], false), Err(PacketError::Short(len)));
    }
}

/// Bytes changed, cut and appended at random: whatever is read as a request can be written again,
/// and nothing panics.
#[test]
fn mutations() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let url = Options::pack_url("/announce?passkey=0123456789");
    let mut scrape = Vec::new();
    Request::Scrape {
        connection: CONNECTION,
        transaction: TRANSACTION,
        hashes: Hashes::packed(&[5; 60]),
    }
    .encode(&mut scrape);
    let mut reply = announce_reply_head(TRANSACTION, 5, 5, 5).to_vec();
    reply.extend_from_slice(&[7; 36]);
    let starts = [
        asking(announce(), &url),
        scrape,
        packed(&Request::Connect {
            transaction: TRANSACTION,
        }),
        reply,
    ];
    for round in 0..40_000 {
        let mut bytes = starts[round % starts.len()].clone();
        for _ in 0..next() % 6 {
            let at = next() % bytes.len();
            match next() % 4 {
                0 => bytes.truncate(at.max(1)),
                1 => bytes.insert(at, next() as u8),
                2 => bytes[at] ^= 1 << (next() % 8),
                _ => bytes[at] = next() as u8,
            }
        }
        if let Ok(request) = Request::decode(&bytes) {
            let again = packed(&request);
            assert_eq!(Request::decode(&again), Ok(request));
            match request {
                Request::Announce { options, .. } => {
                    assert!(options.url_data().len() <= MAX_URL_DATA);
                }
                Request::Scrape { hashes, .. } => assert!(hashes.iter().len() > 0),
                Request::Connect { .. } => {}
            }
        }
        for over_v6 in [false, true] {
            if let Ok(Reply {
                body:
                    ReplyBody::Announce {
                        interval, peers, ..
                    },
                ..
            }) = Reply::decode(&bytes, over_v6)
            {
                assert!(interval > 0 && peers.len() * 6 <= bytes.len());
            }
        }
    }
}
