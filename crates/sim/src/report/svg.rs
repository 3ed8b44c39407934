//! Pieces over time, one line a host, and what the uplinks did below.

use super::Report;
use core::fmt::Write;
use samara_engine::Instant;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;

/// Height of the strip that shows how busy the uplinks were.
const STRIP: f64 = 60.0;

/// Most lines that are drawn: in a larger swarm every so-manyth host.
const LINES_MAX: usize = 200;

/// The plot of a run as an SVG document.
#[must_use]
pub fn plot(report: &Report) -> String {
    let pieces = report.hosts.iter().map(|host| host.pieces_at.len()).max();
    let pieces = pieces.unwrap_or(0).max(1) as f64;
    let end = report.finishes().last().copied();
    let end = end
        .unwrap_or(report.ended.since(Instant::ZERO))
        .as_nanos()
        .max(1) as f64;
    let x = |at: u64| LEFT + WIDTH * at as f64 / end;
    let y = |count: f64| TOP + HEIGHT * (1.0 - count / pieces);
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"{w}\" height=\"{h}\" fill=\"white\"/>",
        w = LEFT + WIDTH + 20.0,
        h = TOP + HEIGHT + STRIP + 80.0,
    );
    let efficiency = report.efficiency().unwrap_or(0.0);
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"20\">{}, seed {}: efficiency {efficiency:.3}, {:.2} copies from \
         seeds; pieces of each host over seconds</text>",
        escape(&report.scenario.name),
        report.scenario.seed,
        report.seed_copies(),
    );
    grid(&mut svg, end, pieces, &x, &y);
    let step = report.hosts.len().div_ceil(LINES_MAX).max(1);
    for (at, host) in report.hosts.iter().enumerate().step_by(step) {
        if host.pieces_at.is_empty() {
            continue;
        }
        let hue = (at * 137) % 360;
        let _ = write!(
            svg,
            "<polyline fill=\"none\" stroke=\"hsl({hue},60%,45%)\" stroke-width=\"1\" points=\"{:.1},{:.1}",
            x(host.spec.arrives.as_nanos()),
            y(0.0)
        );
        for (count, at) in host.pieces_at.iter().enumerate() {
            let _ = write!(svg, " {:.1},{:.1}", x(at.as_nanos()), y(count as f64 + 1.0));
        }
        svg.push_str("\"/>\n");
    }
    strips(&mut svg, report, &x);
    svg.push_str("</svg>\n");
    svg
}

/// Axes, ticks and the fluid bound.
fn grid(svg: &mut String, end: f64, pieces: f64, x: &dyn Fn(u64) -> f64, y: &dyn Fn(f64) -> f64) {
    for part in 0..=10u32 {
        let time = end * f64::from(part) / 10.0;
        let at = x(time as u64);
        let (low, high) = (y(0.0), y(pieces));
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{low}\" x2=\"{at:.1}\" y2=\"{high}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{:.1}</text>",
            low + 16.0,
            time / 1e9
        );
    }
    for part in 0..=4u32 {
        let count = pieces * f64::from(part) / 4.0;
        let at = y(count);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{count:.0}</text>",
            LEFT + WIDTH,
            LEFT - 6.0,
            at + 4.0
        );
    }
}

/// Two strips below: the part of the uplinks that was busy, seeds first, then leeches.
fn strips(svg: &mut String, report: &Report, x: &dyn Fn(u64) -> f64) {
    let base = TOP + HEIGHT + 40.0;
    for (row, (name, seeds)) in [("seeds", true), ("leeches", false)].iter().enumerate() {
        let height = STRIP / 2.0 - 4.0;
        let low = base + STRIP / 2.0 * (row as f64 + 1.0);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            LEFT - 6.0,
            low - 6.0
        );
        let width = x(report.bin.as_nanos()) - x(0);
        let last = LEFT + WIDTH;
        for (at, share) in report.uplinks_over_time(*seeds).iter().enumerate() {
            let left = x(at as u64 * report.bin.as_nanos());
            if left >= last {
                break;
            }
            let _ = writeln!(
                svg,
                "<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#48a\"/>",
                low - height * share.min(1.0),
                width.min(last - left),
                height * share.min(1.0)
            );
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
