//! What reading a request body costs: nanoseconds per body, bytes per second.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rostergate::proto::{
    stanza::{scan_body, scan_stanza},
    xml::{Limits, scan_header},
};

const MESSAGE: &str = "<message to='marie@example.org' type='chat' id='purple1a2b3c'>\
    <body>See you at noon &amp; bring the book</body>\
    <active xmlns='http://jabber.org/protocol/chatstates'/></message>";

fn body(attributes: &str, content: &str) -> Bytes {
    format!("<body rid='1573741820' sid='6f0c9b7e4d' {attributes}>{content}</body>").into()
}

fn bodies(criterion: &mut Criterion) {
    let plain = "xmlns='http://jabber.org/protocol/httpbind'";
    let prefixed = "xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'";
    let own = MESSAGE.replacen(' ', " xmlns='jabber:client' ", 1);
    let mut group = criterion.benchmark_group("scan_body");
    for (name, document) in [
        ("poll", body(plain, "")),
        ("1 message", body(plain, &own)),
        ("1 message, xmlns spliced", body(plain, MESSAGE)),
        ("1 message, prefix spliced", body(prefixed, MESSAGE)),
        ("32 messages", body(plain, &own.repeat(32))),
        (
            "32 messages, xmlns spliced",
            body(plain, &MESSAGE.repeat(32)),
        ),
    ] {
        group.throughput(Throughput::Bytes(document.len() as u64));
        group.bench_with_input(
            BenchmarkId::from_parameter(name),
            &document,
            |bencher, document| {
                // As it comes from the network: in a buffer that nobody else holds.
                bencher.iter_batched(
                    || Bytes::from(document.to_vec()),
                    |document| scan_body(black_box(document), &Limits::default()),
                    BatchSize::SmallInput,
                );
            },
        );
    }
    group.finish();
}

fn stanzas(criterion: &mut Criterion) {
    let header = "<stream:stream xmlns='jabber:client' id='1' version='1.0' from='example.org' \
        xmlns:stream='http://etherx.jabber.org/streams'>";
    let (scope, _) = scan_header(header.as_bytes()).expect("the header is right");
    let mut group = criterion.benchmark_group("scan_stanza");
    group.throughput(Throughput::Bytes(MESSAGE.len() as u64));
    group.bench_function("1 message", |bencher| {
        bencher.iter_batched(
            || Bytes::from(MESSAGE.as_bytes().to_vec()),
            |element| scan_stanza(black_box(element), &scope, &Limits::default()),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, bodies, stanzas);
criterion_main!(benches);
