//! What has been found to be costly to read (`fuzz/corpus/cost`), and the same a hundred times as long, takes
//! memory in proportion to its length. One test alone: what others allocate would be counted too.

#[path = "checks/cost.rs"]
mod cost;

use std::{alloc::System, fs, path::Path};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn read(bytes: &[u8]) -> bool {
    cost::read(bytes, || ALLOCATOR.stats().bytes_allocated)
}

/// How many of these inputs are accepted, and how many there are.
fn read_all(folder: &Path) -> (usize, usize) {
    let entries = fs::read_dir(folder).expect("a folder");
    let files = entries.map(|entry| {
        let path = entry.expect("an entry").path();
        println!("{}", path.display());
        fs::read(path).expect("a file")
    });
    files.fold((0, 0), |(accepted, all), bytes| {
        (accepted + usize::from(read(&bytes)), all + 1)
    })
}

#[test]
fn what_is_read_takes_memory_in_proportion_to_its_length() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let (accepted, all) = read_all(&root.join("cost"));
    assert!(accepted > 5 && accepted < all, "{accepted} of {all}");

    // Documents as large as any client may send, and answers of backends.
    const BOSH: &str = "http://jabber.org/protocol/httpbind";
    let children = "<a/>".repeat(4096);
    let long = "u".repeat(200_000);
    let prefixes: String = (0..60)
        .map(|number| format!(" xmlns:p{number}='u'"))
        .collect();
    let list: Vec<String> = (0..20_000)
        .map(|number| format!("\"c{number}@a.b\":{{}}"))
        .collect();
    let header = format!(
        "<s:stream version='1.0' xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client'{prefixes}>"
    );
    for (how, text) in [
        (
            0,
            format!("<body xmlns='{BOSH}' rid='1' sid='s'{prefixes}>{children}</body>"),
        ),
        (
            0,
            format!("<body xmlns='{BOSH}' rid='1' xmlns:a='{long}'>{children}</body>"),
        ),
        (
            0,
            format!("<body xmlns='{BOSH}' rid='1' xml:lang='{long}'>{children}</body>"),
        ),
        (
            0,
            format!("<body xmlns='{BOSH}' rid='1' sid='s'><a{prefixes}>{children}</a></body>"),
        ),
        (
            1,
            format!(
                "{header}<s:features>{}</s:features>",
                "<p0:a/>".repeat(50_000)
            ),
        ),
        (1, format!("{header}{}", "<p0:a/>".repeat(50_000))),
        (
            2,
            format!(
                "<iq{prefixes}><query>{}</query></iq>",
                "<a jid='b'/>".repeat(20_000)
            ),
        ),
        (3, format!("{{{}}}", list.join(","))),
    ] {
        println!("{how} {text:.80}");
        read(&[&[how][..], text.as_bytes()].concat());
    }
}
