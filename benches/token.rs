//! What does a token cost: to issue, to verify, and to refuse when it is forged?
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up ends")]

mod support;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use permyx::token::keys::{KeyRing, SigningKey, key_set};
use permyx::token::verify::{Presented, verify};

use support::NOW;

fn tokens(c: &mut Criterion) {
    let (key, stranger) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let (ring, _) = KeyRing::of_set(&key_set([key.public()]));
    let takes = |token: &str| verify(Presented::new(token).unwrap(), &ring, NOW).is_ok();
    let good = support::token(&key);
    let mut forged = good.clone().into_bytes();
    // A character in the middle of the signature.
    let at = forged.len() - 100;
    if let Some(byte) = forged.get_mut(at) {
        *byte = if *byte == b'A' { b'B' } else { b'A' };
    }
    let forged = String::from_utf8(forged).unwrap();
    let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
    let cases = [
        ("verify: good", good, true),
        ("verify: forged signature", forged, false),
        ("verify: no signature", unsigned, false),
        ("verify: unknown key", support::token(&stranger), false),
    ];
    let mut group = c.benchmark_group("token");
    for (name, token, expected) in &cases {
        assert_eq!(takes(token), *expected, "{name}");
        group.bench_function(*name, |b| b.iter(|| takes(black_box(token))));
    }
    group.bench_function("issue", |b| {
        b.iter_batched(|| (), |()| support::token(black_box(&key)), BatchSize::SmallInput)
    });
    group.finish();
}

criterion_group!(benches, tokens);
criterion_main!(benches);
