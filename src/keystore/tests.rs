//! Keys on disk: what is written is what servers read, and what is damaged is told.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::agent_file::ApiKeyStore;
use super::agents::{Allowance, Enrolment, Role, Terms};
use super::signing::{Handover, KeyState, SigningStore};
use super::*;
use crate::model::ids::StoreId;

const NOW: Timestamp = Timestamp::of_seconds(1_800_000_000);

fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn states(store: &SigningStore, now: Timestamp) -> Vec<KeyState> {
    store.list(now).unwrap().into_iter().map(|(_, state)| state).collect()
}

/// The `kid` that signs, and the number of published keys.
fn use_at(store: &SigningStore, now: Timestamp) -> (String, usize) {
    let keys = store.load(now).unwrap();
    (keys.signers().next().unwrap().kid().to_owned(), keys.published().keys.len())
}

#[test]
fn the_first_key_signs_at_once_and_is_the_owners_alone() {
    let data = dir();
    let store = SigningStore::of(data.path());
    assert!(matches!(store.load(NOW).map(|_| ()), Err(KeystoreError::NoSigningKey(_))));
    let made = store.generate(NOW).unwrap();
    assert_eq!(use_at(&store, NOW), (made.kid.clone(), 1));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&store.dir().join(format!("{}.pem", made.kid))), 0o600);
    assert_eq!(mode(store.dir()), 0o700);
    assert!(matches!(store.generate(NOW), Err(KeystoreError::HasSigningKey(kid)) if kid == made.kid));
}

#[test]
fn a_rotation_publishes_then_signs_then_retires() {
    use KeyState::*;
    let data = dir();
    let store = SigningStore::of(data.path());
    let first = store.generate(NOW).unwrap().kid;
    let second = store.rotate(Handover::seconds(60, 600).unwrap(), NOW).unwrap().kid;
    let after = |seconds| NOW.plus_seconds(seconds);
    assert_eq!((use_at(&store, after(59)), states(&store, after(59))), ((first.clone(), 2), vec![Active, Pending]));
    assert_eq!((use_at(&store, after(60)), states(&store, after(60))), ((second.clone(), 2), vec![Retiring, Active]));
    assert_eq!((use_at(&store, after(660)), states(&store, after(660))), ((second, 1), vec![Retired, Active]));
    store.rotate(Handover::default(), after(660)).unwrap();
    assert!(!store.dir().join(format!("{first}.pem")).exists(), "a retired private key is gone");
    assert_eq!(states(&store, after(660)), [Active, Pending]);
}

/// A token that was signed in a key's last moment stays verifiable for as long as it lives.
#[test]
fn an_old_key_outlives_its_last_token() {
    assert_eq!(Handover::OVERLAP_MIN_S, 140);
    assert_eq!(Handover::seconds(0, 139), None);
    let data = dir();
    let store = SigningStore::of(data.path());
    let first = store.generate(NOW).unwrap().kid;
    store.rotate(Handover::seconds(0, 140).unwrap(), NOW).unwrap();
    let published =
        |at| store.load(at).unwrap().published().keys.iter().any(|key| key.common.key_id.as_ref() == Some(&first));
    assert!(published(NOW.plus_seconds(139)));
    assert!(!published(NOW.plus_seconds(140)));
}

#[test]
fn a_hasty_second_rotation_wins() {
    let data = dir();
    let store = SigningStore::of(data.path());
    store.generate(NOW).unwrap();
    store.rotate(Handover::seconds(60, 600).unwrap(), NOW).unwrap();
    let last = store.rotate(Handover::seconds(0, 600).unwrap(), NOW).unwrap().kid;
    for seconds in [0, 60, 10_000] {
        assert_eq!(use_at(&store, NOW.plus_seconds(seconds)).0, last);
    }
}

#[test]
fn rotating_without_end_is_refused() {
    let data = dir();
    let store = SigningStore::of(data.path());
    store.generate(NOW).unwrap();
    let refused = (0..20).find_map(|_| store.rotate(Handover::default(), NOW).err());
    assert!(matches!(refused, Some(KeystoreError::TooManySigningKeys(16))));
    store.rotate(Handover::default(), NOW.plus_seconds(960)).unwrap();
}

#[test]
fn a_clock_that_was_set_back_still_finds_a_signer() {
    let data = dir();
    let store = SigningStore::of(data.path());
    let first = store.generate(NOW).unwrap().kid;
    store.rotate(Handover::default(), NOW).unwrap();
    assert_eq!(use_at(&store, NOW.plus_seconds(-3600)), (first, 2));
}

#[test]
fn damaged_signing_keys_are_named() {
    let data = dir();
    let store = SigningStore::of(data.path());
    let kid = store.generate(NOW).unwrap().kid;
    let list = store.dir().join("keys.json");
    let pem = store.dir().join(format!("{kid}.pem"));
    let good = std::fs::read_to_string(&list).unwrap();
    let told = |path: &Path, text: &str| {
        let before = std::fs::read(path).unwrap();
        std::fs::write(path, text).unwrap();
        let error = store.load(NOW).map(|_| ()).unwrap_err();
        std::fs::write(path, before).unwrap();
        assert!(matches!(&error, KeystoreError::Damaged { path: named, .. } if named == path), "{error:?}");
        error.to_string()
    };
    assert!(told(&list, "").contains("restore it from a backup"));
    told(&list, "{\"keys\":[]}");
    told(&list, &good.replace(&kid, "../../../../etc/passwd"));
    told(&list, &good.replace("\"keys\"", "\"kyes\""));
    told(&pem, "not a key");
    let other = crate::token::keys::SigningKey::generate().unwrap().to_pem().unwrap();
    told(&pem, &other);
    std::fs::remove_file(&pem).unwrap();
    assert!(matches!(store.load(NOW).map(|_| ()), Err(KeystoreError::Damaged { source: Damage::Missing, .. })));
    std::fs::write(&list, "{").unwrap();
    assert!(matches!(store.generate(NOW), Err(KeystoreError::Damaged { .. })), "never overwrites what it cannot read");
}

fn terms(role: Role, stores: &[&str]) -> Terms {
    let stores = stores.iter().map(|id| StoreId::parse(id).unwrap()).collect();
    Terms { role, stores: Enrolment::Only(stores), allowance: Allowance::default() }
}

#[test]
fn a_made_key_authenticates_until_it_is_revoked() {
    let data = dir();
    let store = ApiKeyStore::of(data.path());
    assert!(store.load().unwrap().is_empty());
    let (key, secret) = store.create(terms(Role::Agent, &["store-123"]), NOW).unwrap();
    let (other, _) = store.create(terms(Role::Merchant, &["store-123", "store-9"]), NOW).unwrap();
    assert!(key.id.as_str().strip_prefix("ak_").is_some_and(|hex| hex.len() == 12));
    let keys = store.load().unwrap();
    assert_eq!(keys.authenticate(secret.reveal()).as_deref(), Some(&key));
    for unknown in
        ["", "permyx_agent_", secret.reveal().split_at(1).1, &format!("{} ", secret.reveal()), &"a".repeat(10_000)]
    {
        assert!(keys.authenticate(unknown).is_none(), "{unknown:?}");
    }
    let revoked = store.revoke(&key.id, NOW.plus_seconds(5)).unwrap();
    assert_eq!(store.revoke(&key.id, NOW.plus_seconds(9)).unwrap(), revoked, "the first time stays");
    assert!(store.load().unwrap().authenticate(secret.reveal()).is_none());
    assert_eq!(store.list().unwrap(), [revoked, other]);
    let unknown = AgentId::parse("ak_000000000000").unwrap();
    assert!(matches!(store.revoke(&unknown, NOW), Err(KeystoreError::NoSuchApiKey(_))));
}

#[test]
fn the_file_holds_no_secret() {
    let data = dir();
    let store = ApiKeyStore::of(data.path());
    let (_, secret) = store.create(terms(Role::Agent, &["s"]), NOW).unwrap();
    let text = std::fs::read_to_string(data.path().join("agent-keys.json")).unwrap();
    let random = secret.reveal().strip_prefix("permyx_agent_").unwrap();
    assert!(!text.contains(random));
    assert!(text.contains(&crate::model::intent::Sha256::of(secret.reveal().as_bytes()).hex()));
}

#[test]
fn only_those_who_look_after_everything_span_all_stores() {
    let data = dir();
    let store = ApiKeyStore::of(data.path());
    for role in [Role::Agent, Role::Merchant, Role::Auditor, Role::Operator, Role::Gateway] {
        let all = Terms { stores: Enrolment::AllStores, ..terms(role, &[]) };
        assert_eq!(store.create(all, NOW).is_ok(), role.may_span_stores(), "{role}");
        assert!(matches!(store.create(terms(role, &[]), NOW), Err(KeystoreError::NeedsStores(_))));
    }
    let made = store.list().unwrap();
    assert!(made.iter().all(|key| key.terms.stores.covers(&StoreId::parse("any").unwrap())));
}

#[test]
fn the_demo_key_is_made_once() {
    let data = dir();
    let store = ApiKeyStore::of(data.path());
    let demo = Terms { allowance: Allowance::UNLIMITED, ..terms(Role::Agent, &["store-123"]) };
    let first = store.create_fixed("permyx_agent_YOUR_KEY", demo.clone(), NOW).unwrap();
    let again = store.create_fixed("permyx_agent_YOUR_KEY", demo, NOW.plus_seconds(1)).unwrap();
    assert_eq!(first, again);
    let found = store.load().unwrap().authenticate("permyx_agent_YOUR_KEY").unwrap();
    assert_eq!((found.id.clone(), found.terms.allowance), (first.id, Allowance::UNLIMITED));
}

#[test]
fn a_damaged_file_of_api_keys_is_named_and_never_overwritten() {
    let data = dir();
    let store = ApiKeyStore::of(data.path());
    store.create(terms(Role::Agent, &["store-123"]), NOW).unwrap();
    let path = data.path().join("agent-keys.json");
    let good = std::fs::read_to_string(&path).unwrap();
    let one: serde_json::Value = serde_json::from_str(&good).unwrap();
    let twice = serde_json::json!({ "keys": [one["keys"][0], one["keys"][0]] }).to_string();
    let bad = [
        String::new(),
        "{}".to_owned(),
        "{\"keys\":[{}]}".to_owned(),
        good.replace("agent\"", "root\""),
        good.replace("[\n        \"store-123\"\n      ]", "[]"),
        good.replace("[\n        \"store-123\"\n      ]", "\"all\""),
        good.replace("\"secret_sha256\": \"", "\"secret_sha256\": \"0"),
        good.replace("6000", "-1"),
        good.replace("\"per_minute\": 6000,", ""),
        twice,
    ];
    for text in bad {
        assert_ne!(text, good);
        std::fs::write(&path, &text).unwrap();
        let error = store.load().map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("agent-keys.json` is damaged"), "{text}: {error}");
        assert!(store.create(terms(Role::Agent, &["s"]), NOW).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn writers_at_the_same_time_lose_nothing() {
    let data = dir();
    let store = ApiKeyStore::of(data.path());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| store.create(terms(Role::Agent, &["s"]), NOW).unwrap());
        }
    });
    assert_eq!(store.load().unwrap().len(), 8);
}
