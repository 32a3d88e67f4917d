//! The kill switch between hosts, over Redis: a hash of all records, a version that every write
//! changes, and a channel that wakes the others at once.
//!
//! The channel may lose a message. The version is therefore read every second, so that a lost one
//! costs a second at most; a Redis that forgot everything has no version and is filled again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{AsyncConnectionConfig, Msg, PushInfo, PushKind, RedisError, RedisResult};
use tokio::sync::mpsc;

use crate::model::revocation::{Revocation, Subject};

use super::KillSwitch;

/// What both keys have in braces: the slot of a cluster that they are in.
pub const TAG: &str = "revoked";
/// Field: a subject. Value: its latest record as JSON. Both keys are in one slot of a cluster.
pub const RECORDS: &str = "pxl:{revoked}";
/// A word that is another one after every write.
pub const VERSION: &str = "pxl:{revoked}:version";
/// Carries a record, or nothing when there are several to read.
pub const CHANNEL: &str = "pxl:revoked";
/// How often the version is read.
pub const POLL: Duration = Duration::from_secs(1);
/// A connection that is silent for longer is given up.
const ANSWER: Duration = Duration::from_secs(2);
/// Between two connections.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Exchanges before a writer who always comes second gives up until the next poll.
const TRIES: usize = 16;
/// What is over stays this much longer, for hosts whose clock is behind: they would write it again.
const CLOCKS_APART_S: i64 = 300;
/// Messages that wait. What does not fit is read with the next poll.
const WAITING: usize = 256;

/// Writes only where nobody wrote since the version was read: [key of records, key of the version;
/// version that was read, next version, channel, message, then pairs of field and value]. An empty
/// value deletes.
const WRITE: &str = r"
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] then return 0 end
for i = 5, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[1], ARGV[i])
  else redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1";

/// Where the messages of a connection go.
pub type Pushes = mpsc::Sender<PushInfo>;

/// Gives connections to the shared Redis, whatever its form.
pub trait Connect: Send + Sync {
    type Connection: ConnectionLike + Send;

    /// A new connection that is subscribed to [`CHANNEL`] and hands what it is told to `pushes`.
    fn subscribed(&self, pushes: Pushes) -> impl Future<Output = RedisResult<Self::Connection>> + Send;

    /// False when a new connection would lead elsewhere: the one that is open is out of date.
    fn is_current(&self) -> impl Future<Output = bool> + Send;
}

/// What a connection is made with; its login has to ask for version 3 of the protocol.
#[must_use]
pub fn settings(pushes: Pushes) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER))
        .set_response_timeout(Some(ANSWER))
        .set_push_sender(move |push| pushes.try_send(push))
}

/// Exchanges records for as long as it is polled. While Redis does not answer, what was learned
/// last stays in force, and the metric says so.
pub async fn follow(switch: Arc<KillSwitch>, redis: impl Connect) {
    let (mut pause, mut told) = (PAUSE, false);
    switch.metrics.revocation_sync_ok.set(0);
    loop {
        let mut in_step = false;
        let error = match session(&switch, &redis, &mut in_step).await {
            Err(error) => error.to_string(),
            Ok(()) => "the connection was closed".to_owned(),
        };
        if in_step || !std::mem::replace(&mut told, true) {
            tracing::error!(error, "revocations are not exchanged with other processes; those known stay in force");
        }
        switch.metrics.revocation_sync_ok.set(0);
        pause = if in_step { PAUSE } else { (pause * 2).min(PAUSE_MAX) };
        tokio::time::sleep(pause).await;
    }
}

/// One exchange, for a command that ends: what is known here is known there.
pub async fn exchange_once(switch: &KillSwitch, redis: &impl Connect) -> RedisResult<()> {
    let (pushes, _told) = mpsc::channel(1);
    let mut connection = redis.subscribed(pushes).await?;
    exchange(switch, &mut connection).await.map(|_version| ())
}

/// One connection, until it breaks. `in_step` turns true with the first whole exchange.
async fn session(switch: &Arc<KillSwitch>, redis: &impl Connect, in_step: &mut bool) -> Result<(), RedisError> {
    let (pushes, mut told) = mpsc::channel(WAITING);
    let mut connection = redis.subscribed(pushes).await?;
    let mut version = exchange(switch, &mut connection).await?;
    *in_step = true;
    switch.metrics.revocation_sync_ok.set(1);
    switch.met.store(true, Ordering::Release);
    save(switch).await;
    let mut poll = tokio::time::interval(POLL);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let due = tokio::select! {
            push = told.recv() => match push {
                None => return Ok(()),
                Some(push) if push.kind == PushKind::Disconnection => return Ok(()),
                Some(push) => !heard(switch, push),
            },
            () = switch.changed() => true,
            _ = poll.tick() => {
                if !redis.is_current().await {
                    return Ok(());
                }
                version != read_version(&mut connection).await?
            }
        };
        if due {
            version = exchange(switch, &mut connection).await?;
        }
        save(switch).await;
    }
}

/// Takes the record that a message carries. False: it carries none, and all have to be read.
fn heard(switch: &KillSwitch, push: PushInfo) -> bool {
    let Some(message) = Msg::from_push_info(push) else { return true };
    let record: Option<Revocation> = serde_json::from_slice(message.get_payload_bytes()).ok();
    record.is_some_and(|record| {
        switch.learn([record]);
        true
    })
}

/// Brings what was learned into the file.
async fn save(switch: &Arc<KillSwitch>) {
    let saving = switch.clone();
    if let Ok(Err(error)) = tokio::task::spawn_blocking(move || saving.refresh()).await {
        tracing::error!(%error, "revocations are in force but not in the file: they would not survive a restart");
    }
}

async fn read_version(connection: &mut impl ConnectionLike) -> RedisResult<String> {
    let version: Option<String> = redis::cmd("GET").arg(VERSION).query_async(connection).await?;
    Ok(version.unwrap_or_default())
}

/// Reads everything, takes what is newer there, writes what is newer here. The version of what was
/// seen.
async fn exchange(switch: &KillSwitch, connection: &mut impl ConnectionLike) -> RedisResult<String> {
    for _ in 0..TRIES {
        let version = read_version(connection).await?;
        let fields: HashMap<String, String> = redis::cmd("HGETALL").arg(RECORDS).query_async(connection).await?;
        let writes = merge(switch, &fields);
        if writes.is_empty() {
            return Ok(version);
        }
        let next = uuid::Uuid::new_v4().to_string();
        if write(connection, &version, &next, &writes).await? {
            return Ok(next);
        }
    }
    // Others write all the time. The next poll finds another version and comes again.
    Ok("behind".to_owned())
}

/// Learns what others wrote; what they lack, and what is over, is to be written: pairs of field
/// and value.
fn merge(switch: &KillSwitch, fields: &HashMap<String, String>) -> Vec<(String, String)> {
    let now = switch.clock.now();
    let theirs: HashMap<Subject, Revocation> = fields.values().filter_map(|text| read(text)).collect();
    switch.learn(theirs.values().filter(|record| !record.is_spent(now)).cloned());
    let all = switch.snapshot();
    let lacking = all.records().filter(|ours| theirs.get(&ours.subject).is_none_or(|known| ours.supersedes(known)));
    let lacking = lacking.filter_map(|ours| Some((ours.subject.to_string(), serde_json::to_string(ours).ok()?)));
    let long_ago = now.plus_seconds(-CLOCKS_APART_S);
    let over = theirs.values().filter(|record| record.is_spent(long_ago) && all.get(&record.subject).is_none());
    lacking.chain(over.map(|record| (record.subject.to_string(), String::new()))).collect()
}

/// A field that this version cannot read is left as it is.
fn read(text: &str) -> Option<(Subject, Revocation)> {
    let record: Result<Revocation, _> = serde_json::from_str(text);
    let record = record.inspect_err(|error| tracing::warn!(%error, "a shared revocation cannot be read")).ok()?;
    Some((record.subject.clone(), record))
}

/// False when somebody else wrote first.
async fn write(
    connection: &mut impl ConnectionLike,
    seen: &str,
    next: &str,
    writes: &[(String, String)],
) -> RedisResult<bool> {
    let message = if let [(_, record)] = writes { record.as_str() } else { "" };
    let mut command = redis::cmd("EVAL");
    command.arg(WRITE).arg(2).arg(RECORDS).arg(VERSION).arg(seen).arg(next).arg(CHANNEL).arg(message);
    for (field, value) in writes {
        command.arg(field).arg(value);
    }
    command.query_async(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::model::ids::Jti;
    use crate::model::revocation::{Kind, Note};
    use crate::model::time::Timestamp;
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn an_exchange_writes_what_they_lack_and_deletes_what_is_over() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(Timestamp::of_seconds(1_800_000_000)));
        let metrics = Arc::new(Metrics::new().unwrap());
        let switch = KillSwitch::open(dir.path(), clock.clone(), metrics, Box::new(|_| {})).unwrap();
        let revoke = |subject| switch.revoke(subject, Note::default(), Note::default()).unwrap().0;
        let token = revoke(Subject::Token(Jti::random())).subject.to_string();
        let agent = revoke(Subject::of(Kind::Agent, "ak_1").unwrap()).subject.to_string();
        let newer = ("agent:ak_new".to_owned(), r#"{"members":"of a newer version"}"#.to_owned());
        let mut theirs: HashMap<_, _> = merge(&switch, &HashMap::from([newer.clone()])).into_iter().collect();
        assert!(theirs.len() == 2 && theirs.contains_key(&token) && theirs.contains_key(&agent));
        theirs.extend([newer]);
        for wait_s in [0, 300, 299] {
            clock.advance(wait_s * 1000);
            assert_eq!(merge(&switch, &theirs), [], "{wait_s} s later");
        }
        clock.advance(1000);
        assert_eq!(merge(&switch, &theirs), [(token, String::new())]);
    }
}
