//! Bytes into types and back.

use bytes::{Bytes, BytesMut};
use samara_proto::bencode::{self, Encoder, Value};
use samara_proto::magnet::Magnet;
use samara_proto::metainfo::{Info, Metainfo, NamePolicy, check_component_with};
use samara_proto::tracker::udp::{self, Options, Reply, ReplyBody, Request};
use samara_proto::tracker::{
    AnnounceReply, AnnounceRequest, Form, MAX_INTERVAL, MAX_PEERS, MAX_SCRAPE, ReplyError,
    ScrapeReply, ScrapeRequest,
};
use samara_proto::wire::{
    Decoder, ExtendedHandshake, Frame, HANDSHAKE_LEN, Handshake, MetadataMessage, WireError,
    block_header,
};
use std::collections::BTreeSet;

/// What is read is written back byte for byte; nothing is read that has no canonical form.
pub fn bencode(data: &[u8]) {
    if let Ok(value) = bencode::parse(data) {
        let mut out = Encoder::new();
        write(&value, &mut out);
        assert_eq!(out.finish(), data, "canonical form");
    }
    if let Ok((prefix, used)) = bencode::parse_prefix(data) {
        let whole = bencode::parse(&data[..used]).expect("a prefix that was read is a whole");
        assert_eq!(whole, prefix);
    }
}

fn write(value: &Value<'_>, out: &mut Encoder) {
    match value {
        Value::Int(int) => out.int(*int),
        Value::Bytes(bytes) => out.bytes(bytes),
        Value::List(list) => out.list(|out| list.iter().for_each(|value| write(value, out))),
        Value::Dict(dict) => out.dict(|out| {
            for (key, value) in dict.iter() {
                write(value, out.key(key));
            }
        }),
    }
}

/// What is accepted can be laid out: names are safe, nothing overlaps, all is inside, pieces and lengths
/// agree. Written and read again it is the same torrent.
pub fn metainfo(data: &[u8]) {
    for names in [NamePolicy::Portable, NamePolicy::Local] {
        if let Ok(info) = Info::from_bytes_with(Bytes::copy_from_slice(data), names) {
            check_info(&info, names);
        }
        let Ok(torrent) = Metainfo::from_bytes_with(data, names) else {
            continue;
        };
        check_info(&torrent.info, names);
        let again = Metainfo::from_bytes_with(&torrent.to_bytes(), names)
            .expect("what was written can be read");
        assert_eq!(again.info.raw, torrent.info.raw);
        assert_eq!(again.info.info_hash(), torrent.info.info_hash());
        assert_eq!(again.info.files, torrent.info.files);
        assert_eq!(again.trackers, torrent.trackers);
        assert_eq!(again.web_seeds, torrent.web_seeds);
        let link = Magnet::of(&torrent).to_string();
        let magnet: Magnet = link.parse().expect("our own link");
        assert_eq!(magnet.info_hash(), torrent.info.info_hash());
    }
}

fn check_info(info: &Info, names: NamePolicy) {
    let geometry = &info.geometry;
    assert!(geometry.pieces() > 0 && geometry.piece_length() > 0);
    let (mut at, mut data) = (0, 0);
    let mut paths = BTreeSet::new();
    for file in &info.files {
        assert!(file.offset >= at, "files in order, apart");
        at = file.offset.checked_add(file.length).expect("no overflow");
        // An empty file of a v2 torrent stands where the next piece would begin.
        assert!(file.length == 0 || at <= info.space(), "all files inside");
        data += file.length;
        assert!(!file.path.is_empty());
        for component in &file.path {
            check_component_with(component, names).expect("a safe name");
            assert!(!matches!(component.as_str(), "" | "." | ".."));
            assert!(!component.contains(['/', '\0']));
        }
        assert!(paths.insert(&file.path), "two files at one place");
    }
    // Padding in the middle of a piece is fetched as data are.
    assert!(data <= info.total());
    for link in &info.symlinks {
        assert!(!paths.contains(&link.path), "a link where a file is");
        assert!(!link.path.is_empty() && !link.target.is_empty());
    }
    let pieces: u64 = (0..geometry.pieces().min(2000))
        .map(|piece| u64::from(geometry.data_len(piece)))
        .sum();
    assert!(pieces <= info.total());
    if geometry.pieces() <= 2000 {
        assert_eq!(pieces, info.total());
    }
    for range in info.padding().take(1000) {
        assert!(range.end <= info.space());
    }
    let last = geometry.pieces() - 1;
    assert_eq!(info.hash_v1.is_some(), info.piece_sha1(last).is_some());
    assert_eq!(info.piece_sha1(geometry.pieces()), None);
}

/// What is read is written and read back the same.
pub fn magnet(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    if let Ok(magnet) = text.parse::<Magnet>() {
        let written = magnet.to_string();
        assert!(written.is_ascii(), "a link is ASCII: {written}");
        let again: Magnet = written.parse().expect("our own link");
        assert_eq!(again, magnet, "{written}");
    }
}

fn frames(
    pieces: u32,
    chunks: impl Iterator<Item = usize>,
    wire: &[u8],
) -> (Vec<Frame>, Option<WireError>) {
    let decoder = Decoder::new(pieces);
    let (mut buf, mut got, mut rest) = (BytesMut::new(), Vec::new(), wire);
    for size in chunks {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(size.clamp(1, rest.len()));
        buf.extend_from_slice(now);
        rest = later;
        loop {
            match decoder.decode(&mut buf) {
                Ok(Some(frame)) => got.push(frame),
                Ok(None) => break,
                Err(error) => return (got, Some(error)),
            }
        }
    }
    (got, None)
}

/// The first bytes say how many pieces there are and how the rest is cut. The stream means the same
/// however it is cut; what is read is written back the same. What looks like a handshake is one.
pub fn wire(data: &[u8]) {
    if let Some(first) = data.first_chunk::<HANDSHAKE_LEN>()
        && let Some(hello) = Handshake::decode(first)
    {
        assert_eq!(hello.encode(), *first);
        assert!(Handshake::may_begin_with(&first[..20]));
    }
    let Some((&[a, b, cut], stream)) = data.split_first_chunk::<3>() else {
        return;
    };
    let pieces = u32::from(u16::from_be_bytes([a, b])) + 1;
    let whole = frames(pieces, core::iter::once(stream.len()), stream);
    let step = usize::from(cut) + 1;
    let mut turn = 0;
    let uneven = core::iter::from_fn(|| {
        turn = (turn * 7 + 3) % 61;
        Some((turn + step) % 97 + 1)
    });
    assert_eq!(frames(pieces, core::iter::repeat(step), stream), whole);
    assert_eq!(frames(pieces, uneven, stream), whole);
    let mut out = BytesMut::new();
    for frame in &whole.0 {
        match frame {
            Frame::Message(message) => message.encode(&mut out),
            Frame::Block { span, payload } => {
                assert_eq!(span.length as usize, payload.len());
                out.extend_from_slice(&block_header(*span));
                out.extend_from_slice(payload);
            }
        }
    }
    let again = frames(pieces, core::iter::once(out.len()), &out);
    assert_eq!(again, (whole.0, None), "written and read again");
}

/// Extension handshakes and metadata messages survive being written.
pub fn extension(data: &[u8]) {
    if let Some(hello) = ExtendedHandshake::decode(data) {
        assert_eq!(ExtendedHandshake::decode(&hello.encode()), Some(hello));
    }
    let payload = Bytes::copy_from_slice(data);
    if let Some(message) = MetadataMessage::decode(&payload) {
        if let MetadataMessage::Data { data, .. } = &message {
            assert!(data.len() < payload.len());
        }
        assert_eq!(MetadataMessage::decode(&message.encode()), Some(message));
    }
}

/// Announce and scrape requests over HTTP survive being written.
pub fn query(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    if let Ok(request) = AnnounceRequest::from_query(text) {
        let written = request.to_query();
        assert!(written.is_ascii());
        let again = AnnounceRequest::from_query(&written).expect("our own query");
        assert_eq!(again, request, "{written}");
        let url = request.to_url("http://tracker.example/announce?key=1");
        assert_eq!(url.matches('?').count(), 1);
    }
    if let Ok(request) = ScrapeRequest::from_query(text) {
        assert!(request.info_hashes.len() <= MAX_SCRAPE);
        let again = ScrapeRequest::from_query(&request.to_query());
        assert_eq!(again, Ok(request));
    }
}

/// Announce and scrape replies over HTTP: limits hold, what is said can be used, and it survives being
/// written.
pub fn reply(data: &[u8]) {
    match AnnounceReply::decode(data) {
        Ok(mut reply) => {
            assert!((1..=MAX_INTERVAL).contains(&reply.interval));
            assert!(reply.peers.len() <= MAX_PEERS);
            assert!(reply.peer_ids.is_empty() || reply.peer_ids.len() == reply.peers.len());
            for peer in &reply.peers {
                assert!(peer.port() != 0 && !peer.ip().is_unspecified());
            }
            let whole = Form::Dictionary { peer_ids: true };
            let again = AnnounceReply::decode(&reply.encode(whole)).expect("our own reply");
            assert_eq!(again, reply);
            let again = AnnounceReply::decode(&reply.encode(Form::Compact));
            let mut again = again.expect("our own reply");
            reply.peer_ids.clear();
            reply.peers.sort();
            again.peers.sort();
            assert_eq!(again, reply);
        }
        Err(ReplyError::Refused(refusal)) => {
            let again = AnnounceReply::decode(&refusal.encode());
            assert_eq!(again, Err(ReplyError::Refused(refusal)));
        }
        Err(_) => {}
    }
    if let Ok(reply) = ScrapeReply::decode(data) {
        assert!(reply.files.len() <= MAX_SCRAPE);
        for (hash, _) in &reply.files {
            assert!(reply.get(*hash).is_some());
        }
        let _ = reply.encode();
    }
}

/// Packets of both directions survive being written; what is peeked at is what is read.
pub fn udp(data: &[u8]) {
    if let Ok(request) = Request::decode(data) {
        let mut out = Vec::new();
        request.encode(&mut out);
        assert_eq!(Request::decode(&out), Ok(request));
        match request {
            Request::Announce {
                announce, options, ..
            } => {
                let url = options.url_data();
                assert!(url.len() <= udp::MAX_URL_DATA);
                if let Ok(text) = core::str::from_utf8(&url) {
                    let packed = Options::pack_url(text);
                    assert_eq!(Options::packed(&packed).url_data(), url);
                }
                if data.len() == udp::ANNOUNCE_LEN {
                    let peeked = udp::peek_announce(data).expect("an announce");
                    assert_eq!(peeked, (announce.info_hash, announce.port));
                }
            }
            Request::Scrape { hashes, .. } => {
                let packed = (data.len() - udp::SCRAPE_HEAD) / 20;
                assert_eq!(hashes.iter().len(), packed.min(udp::MAX_UDP_SCRAPE));
            }
            Request::Connect { .. } => {}
        }
    }
    for over_v6 in [false, true] {
        if let Ok(reply) = Reply::decode(data, over_v6)
            && let ReplyBody::Announce {
                interval, peers, ..
            } = reply.body
        {
            assert!((1..=MAX_INTERVAL).contains(&interval));
            assert!(peers.len() * 6 <= data.len());
            assert!(peers.iter().all(|peer| peer.port() != 0));
        }
    }
}
