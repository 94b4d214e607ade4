//! What rosters cost: writing them, answering with them, publishing and comparing them.

use std::{hint::black_box, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jid::BareJid;
use rostergate::roster::{
    Contact, Roster, Subscription, Username, diff,
    left_out::LeftOut,
    snapshot::{Entry, Snapshot, Validators},
};

fn contacts(count: usize) -> Vec<Contact> {
    let contact = |n: usize| {
        Contact::new(
            BareJid::new(&format!("user{n}@example.org")).expect("a JID"),
            Some(format!("User <{n}> & Co")),
            vec!["Friends".into(), format!("Group {}", n % 10)],
            Subscription::Both,
        )
    };
    (0..count).map(contact).collect()
}

fn user(n: usize) -> Username {
    Username::prepare(&format!("user{n}")).expect("a localpart")
}

fn entry(roster: &Arc<Roster>) -> Entry {
    Entry {
        roster: Arc::clone(roster),
        left_out: LeftOut::default(),
        validators: Validators::default(),
        fetched: Duration::ZERO,
        put: Duration::ZERO,
        fresh: true,
    }
}

/// Once per fetch: sort and render.
fn render(c: &mut Criterion) {
    let mut group = c.benchmark_group("render");
    for count in [10, 100, 1000] {
        let contacts = contacts(count);
        let bytes = Roster::new(contacts.clone()).items().len();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter_batched(|| contacts.clone(), Roster::new, BatchSize::SmallInput);
        });
    }
    group.finish();
}

/// Once per roster get: find the roster in a snapshot of 100,000 users, and share its bytes. The
/// copy beside it is what an answer would cost if it did not share them.
fn answer(c: &mut Criterion) {
    let mut group = c.benchmark_group("answer");
    for count in [10, 100, 1000] {
        let roster = Arc::new(Roster::new(contacts(count)));
        let snapshot = filled(&roster, 100_000);
        let asked = user(50_000);
        let items = || -> Bytes { snapshot.get(&asked).expect("is there").roster.items() };
        group.throughput(Throughput::Bytes(items().len() as u64));
        group.bench_function(BenchmarkId::new("shared", count), |b| b.iter(items));
        group.bench_function(BenchmarkId::new("copied", count), |b| {
            b.iter(|| BytesMut::from(&items()[..]));
        });
    }
    group.finish();
}

fn filled(roster: &Arc<Roster>, users: usize) -> Snapshot {
    let snapshot = Snapshot::new(users, usize::MAX);
    for n in 0..users {
        snapshot.publish(user(n), entry(roster));
    }
    snapshot
}

/// Once per change: must not grow with the number of users. The instructions do not (`instructions`
/// counts them); what grows a little here is the time for memory that no cache holds any more.
fn publish(c: &mut Criterion) {
    let mut group = c.benchmark_group("publish");
    let roster = Arc::new(Roster::new(contacts(100)));
    for users in [1000, 100_000, 1_000_000] {
        let snapshot = filled(&roster, users);
        let names: Vec<_> = (0..1000).map(|n| user(n * (users / 1000))).collect();
        let mut next = names.iter().cycle();
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(users), |b| {
            b.iter(|| {
                let user = next.next().expect("a cycle").clone();
                snapshot.publish(user, entry(&roster));
            });
        });
    }
    group.finish();
}

/// Once per session and change.
fn compare(c: &mut Criterion) {
    let mut group = c.benchmark_group("diff");
    let old = Roster::new(contacts(1000));
    let same = Roster::new(contacts(1000));
    let mut changed = contacts(1001);
    changed[500].name = Some("another".into());
    changed.remove(0);
    let changed = Roster::new(changed);
    group.throughput(Throughput::Elements(1000));
    for (case, new) in [("unchanged", &same), ("3 changes", &changed)] {
        group.bench_function(BenchmarkId::new(case, 1000), |b| {
            b.iter(|| diff::diff(black_box(&old), black_box(new)).count());
        });
    }
    group.finish();
}

criterion_group!(benches, render, answer, publish, compare);
criterion_main!(benches);
