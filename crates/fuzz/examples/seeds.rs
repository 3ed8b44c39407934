//! Writes the inputs that fuzzing begins with into `fuzz/corpus`: what the project's own code makes, and
//! for the targets that are histories, noise of several lengths. `cargo run -p samara-fuzz --example seeds`

use bytes::{Bytes, BytesMut};
use samara_proto::bencode::Encoder;
use samara_proto::magnet::Magnet;
use samara_proto::metainfo::{Draft, DraftFile, Metainfo, NamePolicy, Version};
use samara_proto::tracker::udp::{Options, Request, UdpAnnounce};
use samara_proto::tracker::{
    AnnounceReply, AnnounceRequest, Event, Form, Refusal, ScrapeCounts, ScrapeReply, ScrapeRequest,
};
use samara_proto::wire::{
    ExtendedHandshake, Handshake, HashRange, Message, MetadataMessage, Reserved, block_header,
};
use samara_proto::{InfoHash, PeerId, Sha256, Span};
use samara_tracker::swarm::{Announce, Config, Store};
use std::net::IpAddr;
use std::path::PathBuf;

fn write(target: &str, name: &str, bytes: &[u8]) {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../fuzz/corpus", target]
        .iter()
        .collect();
    std::fs::create_dir_all(&folder).expect("the corpus can be written");
    std::fs::write(folder.join(name), bytes).expect("the corpus can be written");
}

fn torrents() {
    let file = |path: &[&str], length: u64| DraftFile {
        path: path.iter().map(ToString::to_string).collect(),
        length,
        executable: length % 2 == 1,
        root: (length > 0).then_some(Sha256([length as u8; 32])),
        ..DraftFile::default()
    };
    for (name, version) in [
        ("v1", Version::V1),
        ("v2", Version::V2),
        ("hybrid", Version::Hybrid),
    ] {
        for single in [true, false] {
            let files = if single {
                vec![file(&[], 15_000)]
            } else {
                let b = [file(&["b", "c.txt"], 16_000), file(&["b", "d"], 0)];
                [file(&["a"], 3)].into_iter().chain(b).collect()
            };
            let draft = Draft {
                name: if single { "name.bin" } else { "folder" }.into(),
                single_file: single,
                private: !single,
                version,
                piece_length: 16_384,
                names: NamePolicy::Portable,
                files,
            };
            let layout = draft.layout().expect("a good draft");
            let v1 = if version == Version::V2 {
                0
            } else {
                layout.pieces as usize
            };
            let info = draft.info(&vec![7; 20 * v1]).expect("a good draft");
            write("metainfo", &format!("info-{name}-{single}"), &info.raw);
            let urls = ["http://t.example/announce", "udp://t.example:6969"];
            let tiers = urls.iter().map(|url| vec![(*url).to_owned()]).collect();
            let torrent = Metainfo::from_info(info).with_trackers(tiers);
            let bytes = torrent.to_bytes();
            write("metainfo", &format!("{name}-{single}"), &bytes);
            write("bencode", &format!("{name}-{single}"), &bytes);
            let link = Magnet::of(&torrent).to_string();
            write("magnet", &format!("{name}-{single}"), link.as_bytes());
        }
    }
    write("bencode", "kinds", b"d1:ai-5e1:bl0:4:spami0eee");
    write("bencode", "wrong", b"d1:bi1e1:ai2ee");
    let link = format!(
        "magnet:?xt=urn:btih:MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43U&xt.1=urn:btmh:1220{}&dn=a%20b%E2%82%AC\
         &tr=http%3A%2F%2Fa%2Fannounce&ws=https%3A%2F%2Fb%2Fc&x.pe=1.2.3.4:5&x.pe=[::1]:6",
        "a".repeat(64)
    );
    write("magnet", "all", link.as_bytes());
}

fn messages() {
    let span = Span {
        piece: 1,
        offset: 16_384,
        length: 16_384,
    };
    let range = HashRange {
        root: Sha256([7; 32]),
        base_layer: 0,
        index: 512,
        length: 512,
        proof_layers: 3,
    };
    let payload = Bytes::from_static(b"d1:ai1ee");
    let hashes = Bytes::from_static(&[1; 64]);
    let all = [
        Message::KeepAlive,
        Message::Unchoke,
        Message::Have(9),
        Message::Bitfield(Bytes::from_static(&[0xf0, 1])),
        Message::Request(span),
        Message::Cancel(span),
        Message::Port(6881),
        Message::HaveAll,
        Message::Reject(span),
        Message::AllowedFast(3),
        Message::Extended { id: 3, payload },
        Message::HashRequest(range),
        Message::Hashes { range, hashes },
        Message::HashReject(range),
    ];
    let mut out = BytesMut::from(&[0, 15, 6][..]);
    for message in &all {
        message.encode(&mut out);
    }
    out.extend_from_slice(&block_header(Span { length: 5, ..span }));
    out.extend_from_slice(b"hello");
    write("wire", "messages", &out);
    write("wire", "too-long", &[0, 15, 0, 255, 255, 255, 255, 7, 0]);
    let hello = Handshake {
        reserved: Reserved::ours(true),
        info_hash: InfoHash([1; 20]),
        peer_id: PeerId([2; 20]),
    };
    write("wire", "handshake", &hello.encode());
    let hello = ExtendedHandshake {
        parts: Some(3),
        ut_metadata: Some(2),
        metadata_size: Some(1234),
        client: Some("Samara".into()),
        port: Some(6881),
        request_queue: Some(500),
        upload_only: true,
    };
    write("extension", "handshake", &hello.encode());
    let data = MetadataMessage::Data {
        piece: 1,
        total_size: 20_000,
        data: Bytes::from_static(b"xyz"),
    };
    write("extension", "data", &data.encode());
    write(
        "extension",
        "request",
        &MetadataMessage::Request { piece: 0 }.encode(),
    );
    write(
        "extension",
        "reject",
        &MetadataMessage::Reject { piece: 3 }.encode(),
    );
}

const HASH: InfoHash = InfoHash([0x41; 20]);
const ID: PeerId = PeerId(*b"-SM0100-abcdefghijkl");

fn http() {
    let mut request = AnnounceRequest::new(HASH, ID, 6881);
    write("query", "least", request.to_query().as_bytes());
    request.event = Event::Started;
    request.left = Some(5);
    request.size = Some(10);
    request.key = Some(0xabcd);
    request.compact = Some(true);
    request.numwant = Some(50);
    request.ip = Some(IpAddr::from([1, 2, 3, 4]));
    request.ipv6 = "[2a00::1]:6881".parse().ok();
    request.tracker_id = Some(b"x y".to_vec());
    write("query", "most", request.to_query().as_bytes());
    let info_hashes = vec![HASH, InfoHash([9; 20])];
    let scrape = ScrapeRequest { info_hashes };
    write("query", "scrape", scrape.to_query().as_bytes());
    let peers = ["1.2.3.4:5", "[2a00::1]:6"];
    let reply = AnnounceReply {
        interval: 1800,
        min_interval: Some(30),
        complete: Some(1),
        incomplete: Some(2),
        downloaded: Some(3),
        peers: peers
            .iter()
            .map(|peer| peer.parse().expect("an address"))
            .collect(),
        peer_ids: vec![ID; 2],
        warning: Some("careful".into()),
        tracker_id: Some(b"t".to_vec()),
        external_ip: Some(IpAddr::from([1, 2, 3, 4])),
    };
    write("reply", "compact", &reply.encode(Form::Compact));
    let form = Form::Dictionary { peer_ids: true };
    write("reply", "dictionary", &reply.encode(form));
    write("reply", "refusal", &Refusal::new("no").encode());
    let counts = ScrapeCounts {
        complete: 1,
        downloaded: 2,
        incomplete: 3,
        downloaders: Some(1),
    };
    let scrape = ScrapeReply {
        files: vec![(HASH, counts)],
        min_request_interval: Some(9),
    };
    write("reply", "scrape", &scrape.encode());
}

fn udp() {
    let announce = UdpAnnounce {
        info_hash: HASH,
        peer_id: ID,
        downloaded: 1,
        left: Some(2),
        uploaded: 3,
        event: Event::Started,
        ip: None,
        key: 4,
        numwant: None,
        port: 6881,
    };
    let (connection, transaction) = ([1; 8], [2; 4]);
    let packed = Options::pack_url("/announce?key=1");
    for (name, options) in [("announce", &[][..]), ("options", packed.as_slice())] {
        let mut out = Vec::new();
        let options = Options::packed(options);
        let request = Request::Announce {
            connection,
            transaction,
            announce,
            options,
        };
        request.encode(&mut out);
        write("udp", name, &out);
    }
    let mut out = Vec::new();
    Request::Connect { transaction }.encode(&mut out);
    write("udp", "connect", &out);
    let mut reply = vec![0, 0, 0, 1, 2, 2, 2, 2, 0, 0, 7, 8, 0, 0, 0, 1, 0, 0, 0, 1];
    reply.extend_from_slice(&[1, 2, 3, 4, 26, 225]);
    write("udp", "reply", &reply);
    write("udp", "error", b"\0\0\0\x03abcdno\0");
}

fn snapshots() {
    let mut store = Store::new(Config::default(), 1);
    for n in 0..6u8 {
        let mut request = AnnounceRequest::new(InfoHash([n % 2; 20]), PeerId([n; 20]), 6881);
        request.left = Some(u64::from(n % 3) * 100);
        let source = if n < 4 {
            IpAddr::from([50, 0, 0, n])
        } else {
            IpAddr::from([0x2a00, 0, 0, 0, 0, 0, 0, u16::from(n)])
        };
        let answer = store.announce(100_000, &Announce::new(&request, source));
        answer.expect("answered");
    }
    for (name, head) in [("roomy", [0, 0]), ("tight", [1, 1]), ("late", [200, 0])] {
        let mut out = head.to_vec();
        store.save(100_000, &mut out);
        write("snapshot", name, &out);
    }
}

/// For histories: xorshift noise, the same every time.
fn noise() {
    for target in [
        "swarm",
        "metadata",
        "conversation",
        "picker",
        "choker",
        "journal",
    ] {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for (n, len) in [40usize, 200, 800, 1500, 3000].into_iter().enumerate() {
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            };
            let bytes: Vec<u8> = (0..len).map(|_| next()).collect();
            write(target, &format!("noise-{n}"), &bytes);
        }
    }
    let mut e = Encoder::new();
    e.list(|list| (0..3).for_each(|n| list.int(n)));
    write("bencode", "list", &e.finish());
}

fn main() {
    torrents();
    messages();
    http();
    udp();
    snapshots();
    noise();
}
