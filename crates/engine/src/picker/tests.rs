//! Picker states drawn as strings: a digit a piece for its availability, `*` for what a peer has.

use super::*;
use crate::rng::Seed;

const ADDR: &str = "10.0.0.1:6881";

fn bits(drawn: &str) -> Bitfield {
    let mut field = Bitfield::empty(drawn.len() as u32);
    for (at, _) in drawn.char_indices().filter(|(_, c)| *c != ' ') {
        field.set(at as u32);
    }
    field
}

/// Pieces of two blocks; `available` says how many leeches have each, `have` what is here.
fn picker(available: &str, have: &str, random_first: u32, seed: u64) -> Picker {
    let pieces = available.len() as u32;
    let geometry = Geometry::new(32768, u64::from(pieces) * 32768).expect("valid");
    let limits = Limits {
        pieces_in_memory: 100,
        copies: 2,
        random_first,
    };
    let mut picker = Picker::new(geometry, bits(have), limits, Rng::new(Seed(seed), "picker"));
    for (piece, digit) in available.char_indices() {
        for _ in 0..digit.to_digit(10).expect("a digit") {
            picker.peer_has(piece as u32);
        }
    }
    picker.check();
    picker
}

fn pick(picker: &mut Picker, who: u32, has: &str, want: usize) -> Vec<(u32, u32)> {
    let mut out = Vec::new();
    picker.pick(PeerKey(who), &bits(has), (true, false), want, &mut out);
    picker.check();
    out.iter().map(|span| (span.piece, span.block())).collect()
}

fn span(picker: &Picker, piece: u32, block: u32) -> Span {
    picker.geometry.block_span(piece, block)
}

fn receive(picker: &mut Picker, who: u32, piece: u32, block: u32) -> Received {
    let span = span(picker, piece, block);
    let got = picker.receive(PeerKey(who), ADDR.parse().expect("valid"), span);
    picker.check();
    got
}

#[test]
fn rarest_first() {
    for seed in 0..50 {
        let mut p = picker("3213", "    ", 0, seed);
        assert_eq!(pick(&mut p, 1, "****", 2), [(2, 0), (2, 1)]);
        assert_eq!(pick(&mut p, 1, "****", 2), [(1, 0), (1, 1)]);
        assert_eq!(pick(&mut p, 1, "*  *", 4).len(), 4);
        assert_eq!(pick(&mut p, 1, "****", 1), []);
    }
}

#[test]
fn a_peer_with_few_pieces_is_asked_for_its_rarest() {
    let available = "5".repeat(400);
    for seed in 0..20 {
        let mut p = picker(&available, &" ".repeat(400), 0, seed);
        p.bands.lower(77, &mut Rng::new(Seed(0), "x"));
        let mut has = " ".repeat(400).into_bytes();
        for at in [3, 77, 200] {
            has[at] = b'*';
        }
        let has = String::from_utf8(has).expect("ascii");
        assert_eq!(pick(&mut p, 1, &has, 1), [(77, 0)]);
    }
}

#[test]
fn equally_rare_pieces_are_equally_likely() {
    let mut first = [0; 5];
    for seed in 0..5000 {
        let mut p = picker("22222", "     ", 0, seed);
        first[pick(&mut p, 1, "*****", 1)[0].0 as usize] += 1;
    }
    assert!(
        first.iter().all(|count| (850..1150).contains(count)),
        "{first:?}"
    );
}

#[test]
fn the_first_piece_is_random_and_then_rarest_first() {
    let mut first = [0; 4];
    for seed in 0..4000 {
        let mut p = picker("9991", "    ", 1, seed);
        first[pick(&mut p, 1, "****", 2)[0].0 as usize] += 1;
    }
    assert!(
        first.iter().all(|count| (850..1150).contains(count)),
        "{first:?}"
    );

    let mut p = picker("1999", "    ", 1, 3);
    let begun = pick(&mut p, 1, " ***", 2)[0].0;
    receive(&mut p, 1, begun, 0);
    receive(&mut p, 1, begun, 1);
    p.piece_good(begun);
    assert_eq!(pick(&mut p, 1, "****", 1), [(0, 0)]);
}

#[test]
fn a_peer_goes_on_with_its_piece_before_it_begins_another() {
    let mut p = picker("91", "  ", 0, 1);
    assert_eq!(pick(&mut p, 1, "* ", 1), [(0, 0)]);
    assert_eq!(pick(&mut p, 1, "**", 2), [(0, 1), (1, 0)]);
}

#[test]
fn a_piece_that_another_gives_is_joined_only_when_there_is_no_new_one() {
    let mut p = picker("91", "  ", 0, 1);
    assert_eq!(pick(&mut p, 1, "* ", 1), [(0, 0)]);
    assert_eq!(pick(&mut p, 2, "**", 3), [(1, 0), (1, 1), (0, 1)]);
}

#[test]
fn a_piece_that_was_left_comes_before_new_ones() {
    let mut p = picker("91", "  ", 0, 1);
    assert_eq!(pick(&mut p, 1, "* ", 2), [(0, 0), (0, 1)]);
    receive(&mut p, 1, 0, 0);
    let left = span(&p, 0, 1);
    p.release(PeerKey(1), left);
    assert_eq!(pick(&mut p, 2, "**", 2), [(0, 1), (1, 0)]);
}

#[test]
fn a_failed_piece_is_not_left_to_a_peer_that_keeps_us_waiting() {
    let mut p = picker("1", " ", 0, 1);
    pick(&mut p, 1, "*", 2);
    receive(&mut p, 1, 0, 0);
    receive(&mut p, 1, 0, 1);
    p.piece_bad(0);
    let mut out = Vec::new();
    p.pick(PeerKey(1), &bits("*"), (false, false), 2, &mut out);
    assert_eq!(out, []);
    assert_eq!(pick(&mut p, 2, "*", 1), [(0, 0)]);
    assert_eq!(pick(&mut p, 3, "*", 1), []);
    let left = span(&p, 0, 0);
    receive(&mut p, 2, 0, 0);
    pick(&mut p, 2, "*", 1);
    p.release(PeerKey(2), span(&p, 0, 1));
    assert_eq!(
        pick(&mut p, 3, "*", 1),
        [(0, 1)],
        "it is not kept for who does not deliver"
    );
    assert_eq!(left.block(), 0);
}

#[test]
fn released_blocks_are_picked_again_and_untouched_pieces_are_closed() {
    let mut p = picker("11", "  ", 0, 1);
    assert_eq!(pick(&mut p, 1, "* ", 2), [(0, 0), (0, 1)]);
    let (a, b) = (span(&p, 0, 0), span(&p, 0, 1));
    p.release(PeerKey(1), a);
    p.check();
    assert_eq!(pick(&mut p, 2, "* ", 2), [(0, 0)]);
    p.release(PeerKey(2), a);
    p.release(PeerKey(1), b);
    p.check();
    assert!(p.bands.contains(0));
}

#[test]
fn endgame_copies_are_bounded_and_cancelled() {
    let mut p = picker("1", " ", 0, 1);
    assert_eq!(pick(&mut p, 1, "*", 9), [(0, 0), (0, 1)]);
    assert!(p.is_endgame());
    let copies = |p: &mut Picker, who, has: &str| {
        let spans = [span(p, 0, 0), span(p, 0, 1)];
        let taken = spans.map(|span| p.copy(PeerKey(who), &bits(has), span));
        p.check();
        taken.iter().filter(|taken| **taken).count()
    };
    assert_eq!(copies(&mut p, 2, " "), 0, "it does not have the piece");
    assert_eq!(copies(&mut p, 2, "*"), 2);
    assert_eq!(copies(&mut p, 2, "*"), 0, "never twice to the same peer");
    assert_eq!(copies(&mut p, 3, "*"), 0, "never more than two copies");
    let got = receive(&mut p, 2, 0, 0);
    assert_eq!(
        got,
        Received::Kept {
            cancel: vec![PeerKey(1)],
            piece_complete: false
        }
    );
    assert_eq!(receive(&mut p, 1, 0, 0), Received::Unwanted);
    let got = receive(&mut p, 1, 0, 1);
    assert_eq!(
        got,
        Received::Kept {
            cancel: vec![PeerKey(2)],
            piece_complete: true
        }
    );
    p.piece_good(0);
    p.check();
    assert_eq!(receive(&mut p, 1, 0, 1), Received::Unwanted);
}

#[test]
fn a_failed_piece_is_fetched_again_from_one_peer_alone() {
    let mut p = picker("22", "  ", 0, 1);
    let piece = pick(&mut p, 1, "**", 1)[0].0;
    pick(&mut p, 2, "**", 1);
    receive(&mut p, 1, piece, 0);
    receive(&mut p, 2, piece, 1);
    let givers = p.piece_bad(piece);
    p.check();
    assert_eq!(givers.len(), 2);
    let only = if piece == 0 { "* " } else { " *" };
    assert_eq!(pick(&mut p, 1, only, 1), [(piece, 0)]);
    assert_eq!(
        pick(&mut p, 2, only, 1),
        [],
        "the rest is for the first peer alone"
    );
    assert_eq!(pick(&mut p, 1, only, 1), [(piece, 1)]);
    p.peer_gone(PeerKey(1));
    p.release(PeerKey(1), span(&p, piece, 0));
    p.check();
    assert_eq!(pick(&mut p, 2, only, 2), [(piece, 0)]);
}

#[test]
fn memory_bounds_the_begun_pieces() {
    let mut p = picker("11111", "     ", 0, 1);
    p.limits.pieces_in_memory = 2;
    assert_eq!(pick(&mut p, 1, "*****", 99).len(), 4);
    assert!(!p.is_endgame(), "there are more pieces to begin");
}

#[test]
fn odd_spans_are_unwanted() {
    let mut p = picker("1", " ", 0, 1);
    pick(&mut p, 1, "*", 2);
    for (offset, length) in [(0, 100), (1, 16384), (16384, 20000)] {
        let odd = Span {
            piece: 0,
            offset,
            length,
        };
        let got = p.receive(PeerKey(1), ADDR.parse().expect("valid"), odd);
        assert_eq!(got, Received::Unwanted);
    }
    p.check();
}

/// Any order of events keeps the invariants, and everything gets done in the end.
#[test]
fn random_walks_keep_the_invariants_and_finish() {
    for seed in 0..60 {
        let mut rng = Rng::new(Seed(seed), "walk");
        let mut p = picker(&"1".repeat(12), &" ".repeat(12), 1, seed);
        p.limits.pieces_in_memory = 4;
        let full = Bitfield::full(12);
        let mut out: Vec<(u32, Span)> = Vec::new();
        let mut rounds = 0;
        while !p.have().is_full() {
            rounds += 1;
            assert!(rounds < 20_000, "seed {seed} does not finish");
            let who = rng.below(3);
            let mut picked = Vec::new();
            match rng.below(6) {
                0 | 1 => p.pick(
                    PeerKey(who),
                    &full,
                    (true, rng.one_in(2)),
                    1 + rng.below(4) as usize,
                    &mut picked,
                ),
                2 => picked.extend(
                    out.iter()
                        .map(|(_, span)| *span)
                        .filter(|span| p.copy(PeerKey(who), &full, *span))
                        .take(2),
                ),
                3 if !out.is_empty() => {
                    let (who, span) = out.swap_remove(rng.below(out.len() as u32) as usize);
                    p.release(PeerKey(who), span);
                }
                _ if !out.is_empty() => {
                    let (who, span) = out.swap_remove(rng.below(out.len() as u32) as usize);
                    let addr = ADDR.parse().expect("valid");
                    if let Received::Kept {
                        piece_complete: true,
                        ..
                    } = p.receive(PeerKey(who), addr, span)
                    {
                        if rng.one_in(4) {
                            p.piece_bad(span.piece);
                        } else {
                            p.piece_good(span.piece);
                        }
                    }
                }
                _ => {}
            }
            if rng.one_in(50) {
                let gone = rng.below(3);
                p.peer_gone(PeerKey(gone));
                for (_, span) in out.extract_if(.., |(who, _)| *who == gone) {
                    p.release(PeerKey(gone), span);
                }
            }
            out.extend(picked.into_iter().map(|span| (who, span)));
            p.check();
        }
    }
}
