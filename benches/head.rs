//! What does the head of a request cost: to read it, to see what it asks for, and to see that it means one thing?
#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench that cannot be set up ends")]

mod support;

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use permyx::gateway::BODY_MAX_DEFAULT;
use permyx::gateway::canonical::target;
use permyx::gateway::head::{guardable, host_name, tokens, unambiguous, well_formed};
use permyx::gateway::plain_head::{Found, Head, find};
use permyx::token::keys::SigningKey;

/// A purchase as an agent sends it.
fn purchase() -> Vec<u8> {
    let token = support::token(&SigningKey::generate().unwrap());
    format!(
        "POST /checkout?source=chat HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Agent/1.0 (+https://agent.example)\r\n\
         Accept: */*\r\nContent-Type: application/json\r\nPermyx-Execution-Token: {token}\r\n\
         Idempotency-Key: 0192e4a1-7c1b-7d3f-9c41-3b8f3a8d2a10\r\nContent-Length: 96\r\n\r\n"
    )
    .into_bytes()
}

fn read(mut came: BytesMut) -> Box<Head> {
    match find(&mut came, BODY_MAX_DEFAULT) {
        Found::Plain(head) => head,
        other => panic!("{other:?}"),
    }
}

fn heads(c: &mut Criterion) {
    let bytes = purchase();
    let came = || BytesMut::from(&bytes[..]);
    let head = read(came());
    let fields = &head.request.fields;
    let mut group = c.benchmark_group("head");
    group.bench_function("read", |b| b.iter_batched(came, read, BatchSize::SmallInput));
    group.bench_function("where it goes", |b| {
        b.iter(|| (target(black_box(&head.request.target)), host_name(black_box(fields))))
    });
    group.bench_function("means one thing", |b| {
        b.iter(|| {
            well_formed(black_box(fields), true).unwrap();
            unambiguous(&head.raw, fields).unwrap();
            guardable(fields, &[]).unwrap();
        })
    });
    group.bench_function("its token", |b| b.iter(|| tokens(black_box(fields)).unwrap()));
    group.finish();
}

criterion_group!(benches, heads);
criterion_main!(benches);
